"""The progress of one job, told to the server 20 times a second at most.

The first report goes at once, and so does each that comes after a while.  Of those that come
faster the latest waits for its time, and the last one is sent before the job's outcome is settled:
whoever follows the job always hears where it began, and where it came to.
"""

import asyncio
from collections.abc import Awaitable, Callable

PAUSE = 0.05
"""Seconds between two reports."""


class Reports:
    """Sends the reports of one job, one after the other."""

    def __init__(self, send: Callable[[bytes], Awaitable[bool]]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._latest: bytes | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[bool] | None = None

    async def report(self, progress: bytes) -> bool:
        """Send progress, or note it for later; False: the server has refused it."""
        self._latest = progress
        is_free = self._timer is None and not self._turn.locked()
        if is_free and self._loop.time() >= self._due:
            return await self._send_latest()
        if is_free:
            self._send_later()
        await asyncio.sleep(0)  # a task that does nothing but report must not block the loop
        return True

    async def finished(self) -> None:
        """Send what was noted for later, now that the task has ended."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._send_latest()
        except asyncio.CancelledError:
            # It comes too late for the task: whoever cancels the job has said why, and the outcome
            # is judged by that.
            return

    def _send_later(self) -> None:
        self._timer = self._loop.call_at(self._due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._sending = self._loop.create_task(self._send_latest())

    async def _send_latest(self) -> bool:
        async with self._turn:
            progress, self._latest = self._latest, None
            if progress is None:
                return True
            self._due = self._loop.time() + PAUSE
            is_noted = await self._send(progress)
        if self._latest is not None and self._timer is None:  # it came meanwhile
            self._send_later()
        return is_noted
