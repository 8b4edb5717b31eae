"""A worker process, as its supervisor sees it."""

import asyncio
import signal
from contextlib import suppress

from aioq.worker.tie import Hold, Loaded


class Child:
    """A process that was started, to its end.

    Args:
        process: the one.
        hold: our end of its tie.
        early_deaths: how many before it, in a row, have died soon after their start.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, hold: Hold, *, early_deaths: int
    ) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self.hold = hold
        self.early_deaths = early_deaths
        self.is_first: bool = False
        """Whether it takes nobody's place."""
        self.loaded: Loaded | None = None
        """What it has said of its app."""
        self.worker: str = ""
        """The name of its incarnation; empty: it can hold no job yet."""
        self.takes_jobs: asyncio.Future[bool] = self._loop.create_future()
        """True once it takes jobs; False: it has ended before."""
        self.has_successor: bool = False
        """Whether another one is started to take its place."""
        self.failed_successors: int = 0
        self.is_leaving: bool = False
        """Whether another one has taken its place."""
        self.has_left: bool = False
        """Whether its worker has left in good order."""
        self.was_killed: bool = False
        """Whether its supervisor has killed it."""
        self.lived: float = 0
        """Seconds for which it took jobs, when it has ended."""
        self.ended: asyncio.Task[int] = asyncio.create_task(self._end())

    def __str__(self) -> str:
        name = f"Worker {self.worker}" if self.worker else "The worker that was starting"
        return f"{name} (pid {self._process.pid})"

    @property
    def code(self) -> int:
        """Its exit code; the negative number of the signal that has killed it."""
        return self._process.returncode or 0

    @property
    def end(self) -> str:
        """How it has ended, in words."""
        if self.code >= 0:
            return f"has ended with exit code {self.code}"
        return f"was killed by {_name(-self.code)}"

    def begin(self) -> None:
        """Note that it takes jobs."""
        self._began = self._loop.time()
        self.takes_jobs.set_result(True)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still lives."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once; its jobs are not to blame."""
        self.was_killed = True
        self.send(signal.SIGKILL)

    async def _end(self) -> int:
        code = await self._process.wait()
        self.hold.close()  # which hears its last words
        if self._began is not None:
            self.lived = self._loop.time() - self._began
        if not self.takes_jobs.done():
            self.takes_jobs.set_result(False)
        return code


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"
