"""A job's wait, inside its worker, for the thread or the process that it needs.

The server is told of the wait and of its end, because of a crash: a job that had not started has
had no part in it.  Until the server has taken note of the start, the function is not called.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aioq.core.errors import BrokerUnavailable
from aioq.core.retry import reconnect_delay

Note = Callable[[str], Awaitable[bool]]
"""Notes on the server that a delivery waits ("v") or starts ("s"); False: it is not ours."""


class Lost(Exception):
    """The delivery was taken over or has ended: it stops here, and there is nothing to settle."""


class NotStarted(asyncio.CancelledError):
    """The job was cancelled while it waited: nothing of its function has run."""


class Turn:
    """The wait of one job.

    Args:
        note: tells the server.
        started: called when the function begins; its limits count from there.
    """

    def __init__(self, note: Note, started: Callable[[], None]) -> None:
        self._note = note
        self.started = started
        self._has_come = False

    def has_come(self) -> None:
        """Note that from here on the function may begin, at any moment."""
        self._has_come = True

    def cancelled(self, error: asyncio.CancelledError) -> asyncio.CancelledError:
        """Return what to raise on, which says whether anything had begun."""
        return error if self._has_come else NotStarted()

    async def take(self, free: asyncio.Semaphore) -> None:
        """Take a slot; whoever has to wait for it is RECEIVED until then.

        Raises:
            Lost: the job is not this worker's any more; no slot was taken.
        """
        if not free.locked():
            await free.acquire()
            return
        await self._tell_waiting()
        await free.acquire()
        try:
            await self._tell_starting()
        except BaseException:
            free.release()
            raise

    async def _tell_waiting(self) -> None:
        try:
            is_ours = await self._note("v")
        except BrokerUnavailable:  # an outage fails no job, and there is time until the start
            return
        if not is_ours:
            raise Lost

    async def _tell_starting(self) -> None:
        failures = 0
        while True:
            try:
                is_ours = await self._note("s")
                break
            except BrokerUnavailable:
                await asyncio.sleep(reconnect_delay(failures))
                failures += 1
        if not is_ours:
            raise Lost
