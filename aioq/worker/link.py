"""The way of one running job to the server: what its task reports, through its context."""

import logging
from collections.abc import Sequence
from typing import TypedDict, TypeVar

from aioq.broker import memos, streams
from aioq.broker.broker import Broker
from aioq.broker.memos import (
    CHILDREN_PER_CALL,
    MOST_CHILDREN,
    TAKEN_OVER,
    TOO_MUCH,
    NewChild,
    Noted,
)
from aioq.broker.scripts import Call, Delivery
from aioq.core.clock import milliseconds
from aioq.core.errors import AioqError, PayloadTooLarge
from aioq.durable import Memo
from aioq.worker.reports import Reports
from aioq.worker.turn import Lost

T = TypeVar("T")

log: logging.Logger = logging.getLogger("aioq.worker")


class Link:
    """Sends what one delivery has to say; every word is refused once another worker has the job."""

    __slots__ = ("broker", "delivery", "memo", "reports")

    def __init__(self, broker: Broker, delivery: Delivery) -> None:
        self.broker: Broker = broker
        self.delivery: Delivery = delivery
        self.memo: Memo | None = None
        """What a durable task has done so far; None: it has not asked."""
        self.reports: Reports | None = None
        """Its progress; None: it has reported none."""

    async def report(self, progress: bytes) -> bool:
        """Note progress, now or in a moment; False: it was not noted."""
        if self.reports is None:
            self.reports = Reports(self._report)
        return await self.reports.report(progress)

    async def _report(self, progress: bytes) -> bool:
        try:
            return await self.broker.update(self.delivery, "p", progress)
        except AioqError as error:  # an outage fails no job; the next report may arrive
            log.debug("Progress of job %s was not noted: %s", self.delivery.job_id.decode(), error)
            return False

    async def emit(self, generation: int, first: int, items: Sequence[bytes]) -> int:
        """Add items to what the job streams, however long the server is away.

        Args:
            generation: what the first call of this delivery has returned; 0: this is the first.
            first: the number of the first item, from 1.
            items: encoded.

        Returns:
            Their generation; 0: the job was taken over, or has ended.
        """
        call = streams.emit(
            self.broker.keys.prefix,
            job_id=self.delivery.job_id,
            entry_id=self.delivery.entry_id,
            generation=generation,
            first=first,
            items=items,
        )
        return await self.broker.persist(call, patience=None)

    async def recall(self) -> memos.Memo:
        """Read the memo of the job.

        Raises:
            Lost: another worker has the job; so do the others.
        """
        read = await self._ask(memos.memo(self.broker.keys.prefix, **self._names))
        return self._checked(read, read.now_ms)

    async def note(self, name: str, kind: str, value: bytes, most: int) -> Noted:
        """Note a step or a sleep, where the steps take no more than so many bytes in sum."""
        prefix = self.broker.keys.prefix
        call = memos.note(prefix, most=most, name=name, kind=kind, value=value, **self._names)
        noted = await self._ask(call)
        if noted.now_ms == TOO_MUCH:
            message = (
                f"the steps of the job would take {int(noted.entry):,} bytes with {name!r}, more "
                f"than max_payload={most:,}; store the data elsewhere and return its key, or raise "
                "Settings.max_payload"
            )
            raise PayloadTooLarge(message)
        return self._checked(noted, noted.now_ms)

    async def start(self, children: list[NewChild]) -> bool:
        """Make children; False: the job would have too many."""
        prefix = self.broker.keys.prefix
        call = memos.start(prefix, most=MOST_CHILDREN, children=children, **self._names)
        count = await self._ask(call)
        return self._checked(count, count) != TOO_MUCH

    async def results(self, numbers: list[str]) -> list[bytes]:
        """Read large results of children."""
        prefix, found = self.broker.keys.prefix, list[bytes]()
        while len(found) < len(numbers):
            part = numbers[len(found) : len(found) + CHILDREN_PER_CALL]
            values = await self._ask(memos.results(prefix, numbers=part, **self._names))
            found += self._checked(values, 1 if values else TAKEN_OVER)
        return found

    async def hear(self, name: str, event: str, timeout: float | None) -> Noted:
        """Look for an event, and wait for it from now on."""
        limit = "" if timeout is None else str(milliseconds(timeout))
        prefix = self.broker.keys.prefix
        call = memos.hear(prefix, name=name, event=event, timeout=limit, **self._names)
        noted = await self._ask(call)
        return self._checked(noted, noted.now_ms)

    @property
    def _names(self) -> "_Names":
        return {"job_id": self.delivery.job_id, "entry_id": self.delivery.entry_id}

    async def _ask(self, call: Call[T]) -> T:
        """Run a script, however long the server is away: an outage fails no job."""
        return await self.broker.persist(call, patience=None)

    @staticmethod
    def _checked(reply: T, verdict: int) -> T:
        if verdict == TAKEN_OVER:
            raise Lost
        return reply


class _Names(TypedDict):
    """What names the delivery for a script."""

    job_id: bytes
    entry_id: bytes
