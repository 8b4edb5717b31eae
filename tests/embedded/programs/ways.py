"""How a program tells what it knows, and how it comes to its end."""

import json
import os
import signal
import sys

from aioq.embedded import guardian

guardian.LINGER = float(os.environ.get("TEST_LINGER", guardian.LINGER))


def tell(**facts: object) -> None:
    sys.stdout.write(f"{json.dumps(facts)}\n")
    sys.stdout.flush()


def end(way: str) -> None:
    match way:
        case "raise":
            raise RuntimeError("on purpose")
        case "os._exit":
            os._exit(3)
        case "wait":
            while True:
                signal.pause()
        case _:
            return
