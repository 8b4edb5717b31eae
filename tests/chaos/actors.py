"""The processes under chaos: each has a slot, in which a new one takes the place of the dead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.chaos import journal

ROOT = Path(__file__).parents[2]
NEVER = float("inf")


class Life:
    """One process, from its start to its end."""

    def __init__(self, name: str, folder: Path, command: list[str], env: Mapping[str, str]) -> None:
        self.name = name
        self.journal = folder / f"{name}.journal"
        self.stderr = folder / f"{name}.stderr"
        self.ended = NEVER
        """When it was dead for certain."""
        with self.stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**env, journal.ENVIRONMENT: str(self.journal)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None: it lives."""
        code = self._process.poll()
        if code is not None and self.ended == NEVER:
            self.ended = time.monotonic()
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, and return when it is dead."""
        self._process.kill()
        self._process.wait()
        self.ended = time.monotonic()

    def leave(self, seconds: float) -> int | None:
        """Wait for its end; None: it does not come."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self.code


class Slot:
    """A place for one process after the other."""

    def __init__(self, name: str, begin: Callable[[str], Life]) -> None:
        self.name = name
        self.lives: list[Life] = []
        self.silences: list[tuple[float, float]] = []
        """When it was frozen or cut off by a fault."""
        self.is_frozen = False
        self._begin = begin

    @property
    def life(self) -> Life:
        """The present process."""
        return self.lives[-1]

    def begin(self) -> None:
        """Start a process."""
        self.lives.append(self._begin(f"{self.name}.{len(self.lives) + 1}"))
        self.is_frozen = False


def worker(
    folder: Path, url: str, *, lease: float, concurrency: int, app: str = "tests.chaos.app:app"
) -> Callable[[str], Life]:
    """Return what starts a worker under a name: the command itself."""
    settings = {
        "AIOQ_URL": url,
        "AIOQ_LEASE": f"{lease:g}",
        "AIOQ_GRACE": "10",
        "AIOQ_CONCURRENCY": str(concurrency),
        "AIOQ_STARTUP_TIMEOUT": "none",
    }
    command = [sys.executable, "-m", "aioq", "worker", app]
    return lambda name: Life(name, folder, command, environment(settings))


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process, with nothing of this machine's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIOQ_")}
    return {**kept, "NO_COLOR": "1", "AIOQ_EMBEDDED": "never", **settings}
