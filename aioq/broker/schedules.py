"""Schedules on the server: stubs of their scripts, and what is stored there as values.

Definitions are bytes here, as they are to the scripts; `core/recurring.py` reads and writes them.
"""

from collections.abc import Iterable
from datetime import tzinfo
from itertools import chain
from typing import NamedTuple

from msgspec import structs

from aioq.broker import scripts
from aioq.broker.inspect import readable
from aioq.broker.keys import COMMON_LANE, split_lane
from aioq.broker.resp import Reply
from aioq.broker.scripts import Call
from aioq.core.clock import from_ms
from aioq.core.cron import every, zones
from aioq.core.recurring import (
    Definition,
    Occurrence,
    Outcome,
    ScheduleInfo,
    UnknownDefinition,
    decode,
    source_of,
)

PER_CALL = 250
"""Schedules that one call reads or writes."""
FIRES_PER_CALL = 100
"""Occurrences that one call takes: so many jobs are made in some milliseconds."""
ENOUGH = 1_048_576
"""Bytes of payloads after which a call is full."""


class DueSchedule(NamedTuple):
    """A schedule with an occurrence that is due."""

    name: str
    occurrence_ms: int
    definition: bytes


class Due(NamedTuple):
    """What is due, and what comes next."""

    now_ms: int
    """The server's clock."""
    next_ms: int
    """When the first is due of those that are not among them; 0: none will be."""
    schedules: list[DueSchedule]
    has_forgotten: bool
    """The server has lost what the source that asks had brought."""


def due(prefix: str, *, most: int, source: str = "") -> Call[Due]:
    """Ask which schedules are due."""
    return Call(scripts.load("schedules/due"), (prefix, most, source), _parse_due)


def _parse_due(reply: Reply) -> Due:
    now_ms, next_ms, flat, has_forgotten = reply
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    found = [DueSchedule(name.decode(), at_ms, definition) for name, at_ms, definition in triples]
    return Due(now_ms, next_ms, found, bool(has_forgotten))


class Fire(NamedTuple):
    """One occurrence; `schedules/fire.lua` says what each op means."""

    name: str
    version: str
    occurrence: int
    next_ms: int
    op: str
    job_id: str
    lane: str
    task: str
    due: str
    expires: str
    payload: bytes


def fire(prefix: str, *, count: int, fires: Iterable[Fire]) -> Call[str]:
    """Fire occurrences; one letter each."""
    arguments = (prefix, count, *chain.from_iterable(fires))
    return Call(scripts.load("schedules/fire"), arguments, bytes.decode)


class Change(NamedTuple):
    """What one schedule is now, in the words of its source."""

    name: str
    definition: bytes
    """Empty: it is gone."""
    next_ms: int
    keep: str
    """The version of the definition whose next occurrence stays as it is; "": of none."""


class Reconciled(NamedTuple):
    """What became of changes."""

    refused: bool
    """A newer process of the source has spoken."""
    strangers: dict[str, str]
    """Names that belong to another source, and which."""


def reconcile(
    prefix: str, *, source: str, version: int, changes: Iterable[Change]
) -> Call[Reconciled]:
    """Write schedules as their source has them now."""
    arguments = (prefix, source, version, *chain.from_iterable(changes))
    return Call(scripts.load("schedules/reconcile"), arguments, _parse_reconciled)


def _parse_reconciled(reply: Reply) -> Reconciled:
    refused, flat = reply
    words = [word.decode() for word in flat]
    return Reconciled(bool(refused), dict(zip(words[::2], words[1::2], strict=True)))


PAUSE, RESUME, REMOVE = "p", "r", "d"


def change(prefix: str, *, name: str, op: str, version: str = "", next_ms: int = 0) -> Call[bool]:
    """Pause a schedule, let it go on, or remove it; False: it is unknown, or has changed."""
    return Call(scripts.load("schedules/change"), (prefix, name, op, version, next_ms), bool)


class Stored(NamedTuple):
    """One schedule of a page."""

    name: str
    definition: bytes
    next_ms: int | None
    is_paused: bool
    last: bytes
    """A line of its history; empty: there is none."""


class Page(NamedTuple):
    """Some of the schedules."""

    after: str
    """For the next call; "0": there is no more."""
    schedules: list[Stored]


def page(prefix: str, *, after: str, most: int) -> Call[Page]:
    """Read a page of the schedules."""
    return Call(scripts.load("schedules/page"), (prefix, after, most), _parse_page)


def _parse_page(reply: Reply) -> Page:
    after, flat = reply
    columns = [flat[at::5] for at in range(5)]
    found = [
        Stored(name.decode(), definition, _moment(next_ms), bool(is_paused), last)
        for name, definition, next_ms, is_paused, last in zip(*columns, strict=True)
    ]
    return Page(after.decode(), found)


class Read(NamedTuple):
    """All that is stored of one schedule."""

    now_ms: int
    """The server's clock."""
    definition: bytes
    """Empty: nobody knows the schedule."""
    next_ms: int | None
    is_paused: bool
    history: list[bytes]


def read(prefix: str, *, name: str, most: int) -> Call[Read]:
    """Read one schedule."""
    return Call(scripts.load("schedules/read"), (prefix, name, most), _parse_read)


def _parse_read(reply: Reply) -> Read:
    now_ms, definition, next_ms, is_paused, history = reply
    return Read(now_ms, definition, _moment(next_ms), bool(is_paused), history)


def _moment(score: bytes) -> int | None:
    return int(float(score)) if score else None


def occurrence_of(line: bytes, zone: tzinfo) -> Occurrence:
    """Return what a line of a history says."""
    what, at_ms, noted_ms, rest = line.decode().split(" ", 3)
    is_missed = what == "m"
    return Occurrence(
        at=from_ms(int(at_ms)).astimezone(zone),
        outcome=_OUTCOMES[what],
        job_id=None if is_missed else rest,
        noted_at=from_ms(int(noted_ms)).astimezone(zone),
        until=from_ms(int(rest)).astimezone(zone) if is_missed else None,
    )


_OUTCOMES: dict[str, Outcome] = {"f": "fired", "n": "run now", "o": "overlap", "m": "missed"}


def info_of(stored: Stored) -> ScheduleInfo:
    """Return what is known of a schedule; of what another release wrote that is little."""
    try:
        definition = decode(stored.definition)
    except UnknownDefinition:
        source = source_of(stored.definition)
        definition = structs.replace(_UNREADABLE, source=source)
    rule = definition.schedule
    zone = zones.zone(rule.tz)
    queue, priority = split_lane(definition.lane.partition(" ")[0])
    payload = readable(definition.payload)
    return ScheduleInfo(
        name=stored.name,
        task=definition.task,
        schedule="? (of another release)" if rule is _ANY else str(structs.replace(rule, tz=None)),
        timezone=rule.tz or "UTC",
        source=definition.source or None,
        paused=stored.is_paused,
        next_at=None if stored.next_ms is None else from_ms(stored.next_ms).astimezone(zone),
        last=occurrence_of(stored.last, zone) if stored.last else None,
        missed=definition.missed,
        missed_window=definition.missed_window_ms / 1000,
        overlap=definition.overlap,
        jitter=definition.jitter_ms / 1000,
        queue=queue,
        priority=priority,
        args=None if payload is None else tuple(payload.args),
        kwargs=None if payload is None else payload.kwargs,
        expires=_seconds(definition),
    )


_ANY = every(1)
_UNREADABLE = Definition(task="?", lane=COMMON_LANE, payload=b"", schedule=_ANY)
"""In place of a definition that cannot be read."""


def _seconds(definition: Definition) -> float | None:
    return int(definition.expires[1:]) / 1000 if definition.expires else None
