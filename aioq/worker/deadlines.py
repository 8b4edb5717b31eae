"""The deadlines of all running jobs, kept by one timer of the event loop.

A job that ends in time takes its deadline back.  Those are only marked, and swept when they are
half of all, so that a deadline costs the same however many there are.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count

_FEW = 64
"""So few deadlines are not worth a sweep."""


class Deadline:
    """What is to be done at a moment."""

    __slots__ = ("expire",)

    def __init__(self, expire: Callable[[], None]) -> None:
        self.expire: Callable[[], None] | None = expire
        """None: it is done, or was taken back."""


class Deadlines:
    """Calls back when a moment has come, never before."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._numbers = count()
        self._taken_back = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._taken_back

    def add(self, seconds: float, expire: Callable[[], None]) -> Deadline:
        """Call `expire` after so many seconds."""
        deadline = Deadline(expire)
        entry = (time.monotonic() + seconds, next(self._numbers), deadline)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._arm()
        return deadline

    def take_back(self, deadline: Deadline) -> None:
        """Do nothing at this deadline; that it has passed is no mistake."""
        if deadline.expire is None:
            return
        deadline.expire = None
        self._taken_back += 1
        if self._taken_back > _FEW and self._taken_back * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].expire is not None]
            heapq.heapify(self._heap)
            self._taken_back = 0

    def close(self) -> None:
        """Forget all of them."""
        self._heap.clear()
        self._taken_back = 0
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            # Not call_at: the loop's clock may stand still for as long as one of its turns takes.
            # Not less than the millisecond that uvloop counts in: it would be called in a circle.
            delay = max(0.001, self._heap[0][0] - time.monotonic())
            self._timer = self._loop.call_later(delay, self._expire)

    def _expire(self) -> None:
        """Call back all whose moment has come, and wait for the next one."""
        self._timer = None
        heap, now = self._heap, time.monotonic()
        due: list[Callable[[], None]] = []
        while heap and (heap[0][0] <= now or heap[0][2].expire is None):
            deadline = heapq.heappop(heap)[2]
            if deadline.expire is None:
                self._taken_back -= 1
            else:
                due.append(deadline.expire)
                deadline.expire = None
        self._arm()
        for expire in due:
            expire()
