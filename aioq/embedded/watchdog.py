"""A server process that ends with this process, whatever way this one ends.

`watchdog.sh` runs the server and holds one end of a pipe; the other end is here, in this process
alone.  When the kernel closes it, the server is stopped and its scratch folder removed.
"""

import os
import select
import signal
import subprocess
import weakref
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Literal

from aioq.embedded.server import PATIENCE

LONGEST_STOP = 12.0
"""Seconds after which a watchdog's server is gone: ten to end by itself, then it is killed."""
_SCRIPT = Path(__file__).with_name("watchdog.sh")


def script(stop_with: Literal["KILL", "TERM"], scratch: Path | None) -> list[str]:
    """Return the start of the watchdog's command line; the server's command line follows it."""
    return ["/bin/sh", str(_SCRIPT), stop_with, str(scratch or "")]


class Watchdog:
    """One server process and its watchdog."""

    pid = 0
    """The process id of the server's latest run."""
    _ended = False

    def __init__(
        self,
        command: Sequence[str],
        log: BinaryIO,
        *,
        stop_with: Literal["KILL", "TERM"],
        scratch: Path,
    ) -> None:
        # Not the pipes of `Popen`, which stay open when a running process is forgotten.
        orders, self._owner_end = _pipe()
        self._reports, reports = _pipe()
        with orders, reports:
            # Its own session, so that Ctrl-C in the terminal reaches the owner and not the server:
            # a worker that drains still needs it.
            self._process = subprocess.Popen(
                [*script(stop_with, scratch), *command],
                stdin=orders,
                stdout=reports,
                stderr=log,
                start_new_session=True,
            )
        # Not `select`, which fails on the numbers above 1023 that a busy owner may have reached.
        self._report_ready = select.poll()
        self._report_ready.register(self._reports, select.POLLIN)
        _watchdogs.add(self)
        self._read_pid()

    def ended(self, timeout: float = 0.0) -> bool:
        """Tell whether the server has ended; wait up to `timeout` seconds for it."""
        if not self._ended and self._report_ready.poll(timeout * 1000):
            self._reports.readline()
            self._ended = True
        return self._ended

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it has not ended."""
        # Its report follows its end by an instant.
        with suppress(ProcessLookupError):
            if not self.ended():
                os.kill(self.pid, number)

    def end_run(self, number: signal.Signals) -> None:
        """End the server by a signal and wait for it; the scratch folder stays."""
        self.send(number)
        self.send(signal.SIGCONT)
        if not self.ended(PATIENCE):
            self.send(signal.SIGKILL)
            self.ended(PATIENCE)

    def run_again(self) -> None:
        """Start the server again after it has ended, with the same command line."""
        self._owner_end.write(b"\n")
        self._read_pid()

    def stop(self) -> None:
        """End the server and the watchdog; return when the scratch folder is gone."""
        self._owner_end.close()
        self._process.wait()
        self._reports.close()

    def close_in_child(self) -> None:
        """Let go of the pipe in a forked child, which would otherwise keep the server alive."""
        self._owner_end.close()

    def _read_pid(self) -> None:
        # Nothing to read means that the watchdog itself did not start.
        line = self._reports.readline()
        self._ended = not line
        self.pid: int = int(line or 0)


def _pipe() -> tuple[FileIO, FileIO]:
    """Return the end to read from and the end to write to."""
    reading, writing = os.pipe()
    return FileIO(reading, "r"), FileIO(writing, "w")


_watchdogs: "weakref.WeakSet[Watchdog]" = weakref.WeakSet()


def _close_in_child() -> None:
    for watchdog in list(_watchdogs):
        watchdog.close_in_child()


os.register_at_fork(after_in_child=_close_in_child)
