"""What jobs stream, on the server: the stub that adds items, and how they are read.

The position of an item is the id of its entry: the generation, a dash, and its number in it, from
1.  Each start of the task is a generation of its own, and the entry of number 0 is its beginning.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

from aioq.broker import scripts
from aioq.broker.broker import Broker
from aioq.broker.resp import Reply
from aioq.broker.scripts import Call

PER_READ = 500
"""Items that one read takes."""


def emit(
    prefix: str,
    *,
    job_id: bytes,
    entry_id: bytes,
    generation: int,
    first: int,
    items: Iterable[bytes],
) -> Call[int]:
    """Add items; the reply is their generation, 0: the delivery was taken over."""
    arguments = (prefix, job_id, entry_id, generation, first, *items)
    return Call(scripts.load("streams/emit"), arguments, int)


class Entry(NamedTuple):
    """One entry of a stream of items."""

    generation: int
    number: int
    """0: the generation begins here, and this is no item."""
    item: bytes


async def read(broker: Broker, job_id: str, start: str) -> list[Entry]:
    """Read entries from a position on, or behind one with a `(` before it; persists for ever.

    Readers that ask for the same in one turn of the event loop share the answer: a bell wakes all
    who read one job, and most of them are at the same position.
    """
    asked = _asked.setdefault(broker, {})
    question = asked.get((job_id, start))
    if question is None:
        question = asked[job_id, start] = _Question(broker, job_id, start)
    return await question.answer()


class _Question:
    """One read, for all who have asked for it before it was sent."""

    def __init__(self, broker: Broker, job_id: str, start: str) -> None:
        self._broker = broker
        self._key = job_id, start
        self._readers = 0
        self._asking = asyncio.ensure_future(self._ask())

    async def answer(self) -> list[Entry]:
        """Wait for the answer; the read is given up when the last reader is."""
        self._readers += 1
        try:
            return await asyncio.shield(self._asking)
        finally:
            self._readers -= 1
            if not self._readers:
                self._asking.cancel()
                self._close()

    async def _ask(self) -> list[Entry]:
        self._close()  # whoever comes later may have heard of what this read does not see
        job_id, start = self._key
        command = ("XRANGE", self._broker.keys.items(job_id), start, "+", "COUNT", PER_READ)
        attempt = partial(self._broker.command, *command)
        return _entries(await self._broker.through_weather(attempt, patience=None))

    def _close(self) -> None:
        asked = _asked[self._broker]
        if asked.get(self._key) is self:
            del asked[self._key]


_asked: WeakKeyDictionary[Broker, dict[tuple[str, str], _Question]] = WeakKeyDictionary()
"""What is about to be sent."""


async def newest_generation(broker: Broker, job_id: str) -> int:
    """Return the newest generation; 0 where none has begun; persists for ever."""
    key = broker.keys.items(job_id)
    command = ("XREVRANGE", key, "+", "-", "COUNT", 1)
    found = _entries(await broker.through_weather(lambda: broker.command(*command), patience=None))
    return found[0].generation if found else 0


def _entries(reply: Reply) -> list[Entry]:
    entries: list[Entry] = []
    for entry_id, fields in reply:
        generation, _, number = entry_id.partition(b"-")
        entries.append(Entry(int(generation), int(number), fields[1]))
    return entries
