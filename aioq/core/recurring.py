"""A schedule that has a name: what it makes, and what is to be done when it is due.

A definition is complete.  Whoever holds it can fire the schedule, without the task and without the
code it came from; and two that are written in the same bytes are the same.

Whether an occurrence becomes a job is decided here, and only proposed: the server takes the
first proposal for an occurrence, and refuses all others.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast

import msgspec

from aioq.core.clock import milliseconds
from aioq.core.cron import Crontab, Every, Schedule, every
from aioq.core.errors import AioqError, ConfigurationError

Missed = Literal["skip", "one", "all"]
"""What becomes of occurrences for which nobody was there in time: no job, one, or each its own."""
Overlap = Literal["allow", "skip", "queue"]
"""What to do while the job before has not ended: make the next one, make none, let it wait."""

Outcome = Literal["fired", "run now", "overlap", "missed"]
"""What became of an occurrence."""

PUNCTUAL_MS = 10_000
"""An occurrence that is less late than this was not missed: it always becomes a job."""
RUN_TIME = ""
"""The source of schedules that no code declares."""
LONGEST_NAME = 100
_NAME = re.compile(rf"[!-z|~]{{1,{LONGEST_NAME}}}")


class Definition(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """All that firing a schedule needs."""

    source: str = RUN_TIME
    """`module:app` whose code declares it; "": it was made at run time."""
    task: str
    lane: str
    """As `enqueue` takes it, with holds."""
    payload: bytes
    expires: str = ""
    """`+ms` from the moment it is fired; "": never."""
    schedule: Schedule
    missed: Missed = "one"
    missed_window_ms: int = 3_600_000
    overlap: Overlap = "allow"
    jitter_ms: int = 0

    def encode(self) -> bytes:
        """Return the bytes to store: the source, which scripts read, then the rest."""
        bare = msgspec.structs.replace(self, source=RUN_TIME)
        return f"{self.source}\n".encode() + msgspec.msgpack.encode(bare)


class UnknownDefinition(AioqError):
    """A schedule was written by another release, and this one does not understand it."""


def version_of(stored: bytes) -> str:
    """Return the name of these very bytes, by which the server knows whether they still hold."""
    return hashlib.sha1(stored).hexdigest()  # noqa: S324 - what Redis has


@lru_cache(maxsize=1024)
def decode(stored: bytes) -> Definition:
    """Read a stored definition.

    Raises:
        UnknownDefinition: another release wrote it.
    """
    source, _, packed = stored.partition(b"\n")
    try:
        read = msgspec.msgpack.decode(packed, type=Definition)
    except (msgspec.MsgspecError, ValueError) as error:
        message = f"its definition cannot be read by this release: {error}"
        raise UnknownDefinition(message) from None
    return msgspec.structs.replace(read, source=source.decode())


def source_of(stored: bytes) -> str:
    """Return whose a stored definition is, whatever release wrote it."""
    return stored.partition(b"\n")[0].decode()


def kept_pace(before: bytes, definition: Definition) -> str:
    """Return the version of the stored definition whose pace another one keeps; "": it does not."""
    try:
        is_kept = bool(before) and decode(before).schedule == definition.schedule
    except UnknownDefinition:
        return ""
    return version_of(before) if is_kept else ""


class Step(NamedTuple):
    """What to do with one occurrence, and where the schedule goes on."""

    occurrence_ms: int
    next_ms: int
    is_missed: bool = False
    """No job: it and all that follow before `next_ms` are passed over."""


def steps(definition: Definition, occurrence_ms: int, now_ms: int) -> Iterator[Step]:
    """Yield what to do with a schedule whose next occurrence is due, one after the other."""
    schedule, at_ms = definition.schedule, occurrence_ms
    in_time_ms = now_ms - PUNCTUAL_MS
    if at_ms < in_time_ms:
        first_ms = _first_to_make(definition, at_ms, now_ms)
        if first_ms > at_ms:
            yield Step(at_ms, first_ms, is_missed=True)
            at_ms = first_ms
    while at_ms <= now_ms:
        next_ms = schedule.next_ms(at_ms)
        yield Step(at_ms, next_ms)
        at_ms = next_ms


def _first_to_make(definition: Definition, at_ms: int, now_ms: int) -> int:
    """Return the first occurrence that becomes a job, where some were missed from `at_ms` on."""
    schedule, in_time_ms = definition.schedule, now_ms - PUNCTUAL_MS
    if definition.missed == "one":
        return _last_before(schedule, at_ms, in_time_ms)
    if definition.missed == "all":
        begins_ms = min(now_ms - definition.missed_window_ms, in_time_ms)
        return at_ms if at_ms >= begins_ms else schedule.next_ms(begins_ms - 1)
    return schedule.next_ms(in_time_ms - 1)


def _last_before(schedule: Schedule, at_ms: int, end_ms: int) -> int:
    """Return the last occurrence before a moment, `at_ms` being one; they may be any number."""
    end = end_ms
    while end - at_ms > 1:
        middle = (at_ms + end) // 2
        found = schedule.next_ms(middle - 1)
        if found < end_ms:
            at_ms = found
        else:
            end = middle
    return at_ms


def jitter(definition: Definition, name: str, occurrence_ms: int) -> int:
    """Return the milliseconds by which a job comes later: the same ones whoever fires it."""
    if not definition.jitter_ms:
        return 0
    digest = hashlib.blake2b(f"{name}:{occurrence_ms}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (definition.jitter_ms + 1)


def job_id(name: str, occurrence: int | str) -> str:
    """Return the id of the job of an occurrence, of which there can only be one."""
    return f"cron:{name}:{occurrence}"


def lane_of(lane: str, name: str, overlap: Overlap) -> str:
    """Return the lane of a schedule's jobs; those that wait for each other hold a slot."""
    if overlap != "queue":
        return lane
    slot = name
    if not {":", "="}.isdisjoint(name):  # they have a meaning there
        slot = "#" + hashlib.blake2b(name.encode(), digest_size=9).hexdigest()
    return f"{lane} o:{slot}"


def as_schedule(given: object, *, where: str) -> Schedule:
    """Return a schedule from one, from seconds, or from a timedelta.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(given, (Crontab, Every)):
        return given
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
        try:
            return every(seconds)
        except ValueError as error:
            raise ConfigurationError(f"{where}: schedule={given!r} is wrong: {error}") from None
    hint = f": write crontab({given!r})" if isinstance(given, str) else ""
    message = (
        f"{where}: schedule={given!r} is no schedule{hint}; give crontab(...), every(...), a "
        "number of seconds or a timedelta"
    )
    raise ConfigurationError(message)


def as_schedules(given: object, *, where: str) -> tuple[Schedule, ...]:
    """Return the schedules of a task, of which there may be one, several or none (None)."""
    if given is None:
        return ()
    several = isinstance(given, (list, tuple))
    each = cast("list[object] | tuple[object, ...]", given) if several else (given,)
    return tuple(as_schedule(one, where=where) for one in each)


class Policy(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """How a schedule is kept; the options beside its name, its call and its rule."""

    missed: Missed = "one"
    missed_window: float = 3600
    """Seconds for which `missed="all"` looks back."""
    overlap: Overlap = "allow"
    jitter: float = 0
    """Seconds by which its jobs are spread."""


POLICY_NAMES = frozenset(Policy.__struct_fields__)


def check_name(name: object) -> str:
    """Check the name of a schedule, which is a part of the ids of its jobs.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = (
            f"the name {name!r} of a schedule is wrong: give 1 to {LONGEST_NAME} letters, digits "
            "and signs of ASCII, without spaces and braces"
        )
        raise ConfigurationError(message)
    return name


def define(
    target: "Target", rule: Schedule, kept: Policy, *, name: str, source: str, timezone: str | None
) -> Definition:
    """Put a definition together."""
    return Definition(
        source=source,
        task=target.task,
        lane=lane_of(target.lane, name, kept.overlap),
        payload=target.payload,
        expires=target.expires,
        schedule=rule.within(timezone or "UTC"),
        missed=kept.missed,
        missed_window_ms=milliseconds(kept.missed_window),
        overlap=kept.overlap,
        jitter_ms=milliseconds(kept.jitter),
    )


class Target(NamedTuple):
    """What a schedule calls, as it was encoded."""

    task: str
    lane: str
    payload: bytes
    expires: str


@dataclass(frozen=True)
class Occurrence:
    """What became of one occurrence of a schedule; a line of its history."""

    at: datetime
    """When it was due, in the schedule's timezone; where it was run by hand, when that was."""
    outcome: Outcome
    """"fired", "run now": a job was made; "overlap": none, as the one before had not ended;
    "missed": none, as nobody was there in time."""
    job_id: str | None
    """The job that was made, or the one that had not ended."""
    noted_at: datetime
    """When a worker took care of it."""
    until: datetime | None = None
    """"missed": so were all that follow before this moment."""


@dataclass(frozen=True)
class ScheduleInfo:
    """All that is known of one schedule."""

    name: str
    task: str
    schedule: str
    """The rule in words."""
    timezone: str
    source: str | None
    """`module:app` whose code declares it; None: it was made at run time."""
    paused: bool
    next_at: datetime | None
    """None: it is paused."""
    last: Occurrence | None
    missed: Missed
    missed_window: float
    overlap: Overlap
    jitter: float
    queue: str
    priority: int
    args: tuple[Any, ...] | None
    kwargs: dict[str, Any] | None
    expires: float | None
