"""What each process writes down while it lives, so that its death takes nothing with it.

One file per process, one line per event, each a single write to a file opened for appending: what
was written before a `kill -9` is there.  All clocks are the machine's monotonic one, which every
process reads alike.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ENVIRONMENT = "CHAOS_JOURNAL"
"""Where a process finds the path of its journal."""
GAP = 0.3
"""Seconds without a turn of its pulse after which a process writes down that it stood still."""


class Line(NamedTuple):
    """One event of one process."""

    kind: str
    at: float
    """Monotonic seconds."""
    words: tuple[str, ...]


class Journal:
    """The journal of this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, kind: str, *words: object, at: float | None = None) -> None:
        """Write one event down; a word has no spaces."""
        moment = time.monotonic() if at is None else at
        os.write(self._file, f"{kind} {moment:.6f} {' '.join(map(str, words))}\n".encode())

    def watch_the_clock(self) -> None:
        """Write down when this process was frozen, or got no processor, from now on."""
        threading.Thread(target=self._watch, name="chaos-pulse", daemon=True).start()

    def _watch(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(0.05)
            now = time.monotonic()
            if now - before > GAP:
                self.write("gap", f"{before:.6f}", at=now)
            before = now


def of_this_process() -> Journal | None:
    """Return the journal that the environment names; None: this process keeps none."""
    path = os.environ.get(ENVIRONMENT)
    return Journal(Path(path)) if path else None


def read(path: Path) -> Iterator[Line]:
    """Read a journal; a line that its process did not finish is left out."""
    if not path.exists():
        return
    for line in path.read_text().split("\n")[:-1]:
        kind, at, *words = line.split(" ")
        yield Line(kind, float(at), tuple(word for word in words if word))
