"""What a job streams, as its readers see it.

Items are kept on the server, so each reader has a position of its own, and can come late, go and
come back, or fall behind; none is waited for.  The truth about the end is the job's record, not the
stream: a reader looks once more for items after it has heard of the end, and so misses none.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from aioq.broker import inspect, streams
from aioq.broker.client import Client
from aioq.broker.scripts import End
from aioq.broker.streams import Entry
from aioq.broker.waiters import Watch
from aioq.core import codec
from aioq.core.errors import StreamGap, StreamRestarted
from aioq.core.record import Stored

T = TypeVar("T")

_POSITION = re.compile(r"([1-9]\d{0,14})-(\d{1,15})", re.ASCII)


class ItemStream(Generic[T]):
    """The items of one job, for one reader; see `Job.stream`.

    `async for` raises `StreamGap` where items are gone that this reader has not read, and
    `StreamRestarted` where the task was started anew; iterating the same stream again goes on.
    """

    def __init__(
        self,
        job_id: str,
        client: Client,
        *,
        after: str | None,
        convert: Callable[[Any], Any],
        known: bool,
    ) -> None:
        self._job_id = job_id
        self._client = client
        self._convert = convert
        self._known = known
        self._generation, self._number = (0, 0) if after is None else _parse(after)
        self._is_late = False  # begins in the middle, and misses nothing of what was before
        self._start = "" if after is None else f"({after}"
        self._entries: deque[Entry] = deque()
        self._watch: Watch | None = None
        self._is_reading = False
        self._has_ended = False

    def __repr__(self) -> str:
        return f"<ItemStream of job {self._job_id} at {self.position}>"

    @property
    def position(self) -> str | None:
        """Where this reader is: behind the last item it got; None before the first.

        `job.stream(after=position)` goes on from there, in this process or in another.
        """
        return f"{self._generation}-{self._number}" if self._generation else None

    @property
    def generation(self) -> int:
        """Which start of the task the last item comes from; 0 before the first."""
        return self._generation

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Wait for the next item.

        Raises:
            StreamGap, StreamRestarted: see there; the stream goes on.
            TaskFailed, Revoked, ResultExpired: the job has ended so, after its last item.
            JobNotFound: nobody knows the job.
            BrokerUnavailable: the server could not be asked even once, or the app was closed.
        """
        if self._is_reading:
            message = (
                f"the stream of job {self._job_id} is being read already; give each reader its "
                "own: job.stream()"
            )
            raise RuntimeError(message)
        self._is_reading = True
        try:
            while True:
                while self._entries:
                    item = self._next()
                    if item is not None:
                        return self._convert(codec.decode_value(item))
                await self._read()
        finally:
            self._is_reading = False

    def _next(self) -> bytes | None:
        """Take the next entry; None where it was no item."""
        generation, number, item = self._entries[0]
        if self._is_late:
            self._is_late = False
            self._generation, self._number = generation, max(number - 1, 0)
        elif generation != self._generation:
            is_another = self._generation > 0
            self._generation, self._number = generation, 0
            if is_another:
                raise StreamRestarted(self._job_id, generation)
        missed = number - self._number - 1
        if missed > 0:
            self._number = number - 1
            raise StreamGap(self._job_id, f"{generation}-{number - 1}", missed)
        self._entries.popleft()
        self._number = number
        return item if number else None

    async def _read(self) -> None:
        """Read what has come, or wait until something may have."""
        if self._has_ended:
            raise StopAsyncIteration
        broker = self._client.broker()
        watch = self._watch or await self._begin()
        watch.clear()
        end = watch.end  # first, so that the read below sees all that was streamed before it
        entries = await streams.read(broker, self._job_id, self._start)
        if entries:
            self._entries.extend(entries)
            self._start = f"({entries[-1].generation}-{entries[-1].number}"
        elif end is None:
            await watch.heard()
        else:
            if end.state == "?":  # too large for a push
                end = await broker.waiters.ask(self._job_id)
            self._end(end)

    async def _begin(self) -> Watch:
        broker = self._client.broker()
        watch = await broker.waiters.watch(self._job_id)
        if not self._start:
            newest = await streams.newest_generation(broker, self._job_id)
            self._is_late = newest > 0
            self._start = f"{newest}-0"
        self._watch = watch
        return watch

    def _end(self, end: End) -> None:
        self._watch = None
        if end.state == "-":  # a dead letter that was replayed meanwhile
            return
        self._has_ended = True
        if end.state != Stored.COMPLETED:
            inspect.value_of(self._job_id, end, known=self._known, convert=self._convert)
        raise StopAsyncIteration


def _parse(position: str) -> tuple[int, int]:
    is_text = isinstance(position, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    match = _POSITION.fullmatch(position) if is_text else None
    if match is None:
        message = (
            f"after={position!r} is no position in a stream; pass what `stream.position` was, such "
            "as '1-42', or leave it out to begin with the oldest item"
        )
        raise ValueError(message)
    return int(match[1]), int(match[2])
