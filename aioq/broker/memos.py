"""Memos of durable jobs: stubs of their scripts, and events as they are sent.

`lua/include/memo.lua` says what the entries of a memo are.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aioq.broker import scripts
from aioq.broker.broker import Broker
from aioq.broker.resp import Reply
from aioq.broker.scripts import Call, NewJob
from aioq.broker.sync import SyncBroker
from aioq.core.clock import milliseconds

MOST_CHILDREN = 1000
"""Children that one job may have."""
CHILDREN_PER_CALL = 250
JOBS_PER_EVENT_CALL = 250
TAKEN_OVER, TOO_MUCH = -1, -2
"""What stands in the place of the clock where a call was refused."""


class Memo(NamedTuple):
    """What a job has done so far."""

    now_ms: int
    """The server's clock; below 0: the call was refused."""
    nonce: str
    """Of the call that made the job; "": its id was generated."""
    entries: dict[str, bytes]


def memo(prefix: str, *, job_id: bytes, entry_id: bytes) -> Call[Memo]:
    """Read what a job has done so far."""
    return Call(scripts.load("durable/memo"), (prefix, job_id, entry_id), _parse_memo)


def _parse_memo(reply: Reply) -> Memo:
    now_ms, nonce, flat = reply
    pairs = zip(flat[::2], flat[1::2], strict=True)
    entries = {name.decode(): entry for name, entry in pairs if not name.startswith(b" ")}
    return Memo(now_ms, nonce.decode(), entries)


class Noted(NamedTuple):
    """What stands in the memo now."""

    now_ms: int
    """The server's clock; below 0: the call was refused."""
    entry: bytes


def note(
    prefix: str, *, job_id: bytes, entry_id: bytes, most: int, name: str, kind: str, value: bytes
) -> Call[Noted]:
    """Note the result of a step, or the end of a sleep."""
    arguments = (prefix, job_id, entry_id, most, name, kind, value)
    return Call(scripts.load("durable/note"), arguments, _parse_noted)


def _parse_noted(reply: Reply) -> Noted:
    return Noted(*reply)


class NewChild(NamedTuple):
    """One child for `start`."""

    number: int
    print: str
    """Of its task and arguments, in hex: a rerun must start the same."""
    job_id: str
    lane: str
    task: str
    due: str
    expires: str
    nonce: str
    payload: bytes

    @classmethod
    def of(cls, number: int, print_: str, job: NewJob) -> "NewChild":
        """Make a child of a job that is ready to be sent."""
        return cls(number, print_, *job)


def start(
    prefix: str, *, job_id: bytes, entry_id: bytes, most: int, children: Iterable[NewChild]
) -> Call[int]:
    """Make children of a job; the reply counts all that it has, or is TAKEN_OVER or TOO_MUCH."""
    flat = [value for child in children for value in child]
    return Call(scripts.load("durable/start"), (prefix, job_id, entry_id, most, *flat), int)


def results(
    prefix: str, *, job_id: bytes, entry_id: bytes, numbers: Sequence[str]
) -> Call[list[bytes]]:
    """Read large results of children: those of the first, as many as one call brings."""
    return Call(scripts.load("durable/results"), (prefix, job_id, entry_id, *numbers), list)


def hear(
    prefix: str, *, job_id: bytes, entry_id: bytes, name: str, event: str, timeout: str
) -> Call[Noted]:
    """Look for an event, and note that the job waits for it."""
    arguments = (prefix, job_id, entry_id, name, event, timeout)
    return Call(scripts.load("durable/hear"), arguments, _parse_noted)


class Told(NamedTuple):
    """What one call has done for an event."""

    told: int
    """Jobs that waited for it."""
    rest: bool


def event(
    prefix: str, *, nonce: str, event: str, value: bytes, keep_ms: int, job_id: str, most: int
) -> Call[Told]:
    """Send an event."""
    arguments = (prefix, nonce, event, value, keep_ms, job_id, most)
    return Call(scripts.load("durable/event"), arguments, _parse_told)


def _parse_told(reply: Reply) -> Told:
    told, rest = reply
    return Told(told, bool(rest))


class Event(NamedTuple):
    """An event that was found right and is ready to be sent; it may be sent again."""

    name: str
    value: bytes
    keep: float
    job_id: str
    nonce: str

    @classmethod
    def new(cls, name: str, value: bytes, *, keep: float, job_id: str) -> "Event":
        """Make an event that is another one than all before."""
        return cls(name, value, keep, job_id, os.urandom(8).hex())

    def _call(self, prefix: str) -> Call[Told]:
        return event(
            prefix,
            nonce=self.nonce,
            event=self.name,
            value=self.value,
            keep_ms=milliseconds(self.keep),
            job_id=self.job_id,
            most=JOBS_PER_EVENT_CALL,
        )

    async def send(self, broker: Broker) -> int:
        """Send it; return how many jobs waited for it."""
        call, told, rest = self._call(broker.keys.prefix), 0, True
        while rest:
            part, rest = await broker.persist(call, patience=broker.enqueue_timeout)
            told += part
        return told

    def send_sync(self, broker: SyncBroker) -> int:
        """`send` from plain sync code."""
        call, told, rest = self._call(broker.keys.prefix), 0, True
        while rest:
            part, rest = broker.persist(call)
            told += part
        return told
