"""Schedules that have names: add, look at, pause, run or remove them while workers run.

Those that the code declares are on the server too, so that all of them are seen and kept here, by
any process, also one that has not the code.
"""

import builtins
import difflib
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVar, Unpack, cast, get_args

from aioq.broker import schedules
from aioq.broker.broker import Broker
from aioq.broker.schedules import PER_CALL, Change, Fire, Read, info_of, occurrence_of
from aioq.broker.scripts import Call
from aioq.core import options
from aioq.core.clock import LONGEST, from_ms
from aioq.core.cron import Schedule, zones
from aioq.core.errors import BrokerUnavailable, ConfigurationError, ScheduleNotFound
from aioq.core.listing import Listing
from aioq.core.recurring import (
    POLICY_NAMES,
    RUN_TIME,
    Definition,
    Missed,
    Occurrence,
    Overlap,
    Policy,
    ScheduleInfo,
    Target,
    UnknownDefinition,
    as_schedule,
    check_name,
    decode,
    define,
    job_id,
    kept_pace,
    version_of,
)
from aioq.job import Job
from aioq.producer import Prepared
from aioq.tasks import Home, Signature, Task

T = TypeVar("T")

Rule = Schedule | float | timedelta
"""When a schedule is due: `crontab(...)`, `every(...)`, or a number of seconds."""
_MOST_NEXT = 1000
_TRIES = 10


class ScheduleOptions(TypedDict, total=False):
    """What a schedule accepts beside its name, its call and its rule, for the type checker."""

    missed: Missed
    missed_window: float
    overlap: Overlap
    jitter: float


class Schedules:
    """The schedules of an app, on its server; `app.schedules`.

    Args:
        home: that of the app's tasks.
        declares: tells whether the app's code has a schedule of some name.
    """

    def __init__(self, home: Home, declares: Callable[[str], bool]) -> None:
        self._home = home
        self._declares = declares

    async def add(
        self, name: str, sig: Signature[Any], schedule: Rule, **given: Unpack[ScheduleOptions]
    ) -> None:
        """Add a schedule, or put it in the place of the one of that name.

        It outlives every deploy, until it is removed. In another's place it stays paused where that
        was, and goes on at the same moment where only its call has changed.

        Args:
            name: 1 to 100 letters, digits and signs, without spaces and braces.
            sig: the call, such as `report.s("weekly")`; its options count for each job.
            schedule: `crontab(...)`, `every(...)`, a number of seconds or a timedelta.
            **given: `missed` ("one", "skip" or "all"): what becomes of occurrences at which no
                worker lived; `missed_window`: seconds for which "all" looks back (3600);
                `overlap` ("allow", "skip" or "queue"): what to do while the job before has not
                ended; `jitter`: seconds over which the jobs are spread (0).

        Raises:
            ConfigurationError: something of it is wrong, or the name belongs to an app's code.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        where = f"schedules.add({name!r})"
        definition = define(
            target_of(signature(sig, where=where).prepare(), where=where),
            as_schedule(schedule, where=where),
            policy(cast("dict[str, Any]", given), where=where),
            name=check_name(name),
            source=RUN_TIME,
            timezone=self._home.producer.settings.timezone,
        )
        known = await self._ask(schedules.read(self._prefix, name=name, most=0))
        change = Change(
            name,
            definition.encode(),
            next_ms=definition.schedule.next_ms(known.now_ms),
            keep=kept_pace(known.definition, definition),
        )
        call = schedules.reconcile(self._prefix, source=RUN_TIME, version=0, changes=[change])
        strangers = (await self._ask(call)).strangers
        if strangers:
            message = (
                f"{where}: the schedule belongs to the code of {strangers[name]}: change it there, "
                "or take another name"
            )
            raise ConfigurationError(message)

    def list(self) -> Listing[ScheduleInfo]:
        """List all schedules by name; `async for`, or `await` for a list."""

        async def read() -> AsyncGenerator[ScheduleInfo]:
            found = {each.name: each async for each in self._stored()}
            for name in sorted(found):
                yield info_of(found[name])

        return Listing(read)

    async def pause(self, name: str) -> None:
        """Let a schedule rest until it is resumed; what would be due meanwhile is not missed.

        Raises:
            ScheduleNotFound: there is no such schedule.
        """
        if not await self._ask(schedules.change(self._prefix, name=name, op=schedules.PAUSE)):
            await self._refuse(name)

    async def resume(self, name: str) -> None:
        """Let a paused schedule go on, from now.

        Raises:
            ScheduleNotFound: there is no such schedule.
        """
        for _ in range(_TRIES):
            known, definition = await self._known(name)
            call = schedules.change(
                self._prefix,
                name=name,
                op=schedules.RESUME,
                version=version_of(known.definition),
                next_ms=definition.schedule.next_ms(known.now_ms),
            )
            if await self._ask(call):
                return
        raise _unsteady(name)

    async def remove(self, name: str) -> None:
        """Remove a schedule and its history; the jobs it has made stay.

        One that an app's code still declares is back when that app's next worker starts.

        Raises:
            ScheduleNotFound: there is no such schedule.
        """
        await self._read(name)
        await self._ask(schedules.change(self._prefix, name=name, op=schedules.REMOVE))

    async def run_now(self, name: str) -> Job[Any]:
        """Make one job of a schedule now, also while it is paused; its own times do not change.

        Where another job has its unique key, that one is returned.

        Raises:
            ScheduleNotFound: there is no such schedule.
            BrokerFull: the server is full.
        """
        made = job_id(name, f"now:{secrets.token_hex(4)}")
        for _ in range(_TRIES):
            known, definition = await self._known(name)
            fire = Fire(
                name=name,
                version=version_of(known.definition),
                occurrence=known.now_ms,
                next_ms=0,
                op="n",
                job_id=made,
                lane=definition.lane,
                task=definition.task,
                due="",
                expires=definition.expires,
                payload=definition.payload,
            )
            call = schedules.fire(self._prefix, count=1, fires=[fire])
            verdict, _, other = (await self._ask(call)).partition(" ")
            if verdict in {"K", "O"}:
                client = self._home.producer.client
                return Job(other or made, client, created=not other, known=True)
        raise _unsteady(name)

    async def next(self, name: str, n: int = 1) -> builtins.list[datetime]:
        """Return the next `n` occurrences, in the schedule's timezone.

        Of a paused schedule they are those that there would be.

        Raises:
            ScheduleNotFound: there is no such schedule.
        """
        if type(n) is not int or not 1 <= n <= _MOST_NEXT:
            message = f"schedules.next({name!r}, {n!r}): n is a number from 1 to {_MOST_NEXT}"
            raise ConfigurationError(message)
        known, definition = await self._known(name)
        rule, next_ms = definition.schedule, known.next_ms
        # One whose time has passed waits for a worker: that is not what is asked for.
        is_ahead = next_ms is not None and next_ms > known.now_ms
        found = [next_ms if next_ms and is_ahead else rule.next_ms(known.now_ms)]
        while len(found) < n:
            found.append(rule.next_ms(found[-1]))
        zone = zones.zone(rule.tz)
        return [from_ms(ms).astimezone(zone) for ms in found]

    async def history(self, name: str) -> builtins.list[Occurrence]:
        """Return what became of the last 100 occurrences, the newest first.

        Raises:
            ScheduleNotFound: there is no such schedule.
        """
        known, definition = await self._known(name, most=-1)
        zone = zones.zone(definition.schedule.tz)
        return [occurrence_of(line, zone) for line in known.history]

    async def _known(self, name: str, most: int = 0) -> tuple[Read, Definition]:
        read = await self._read(name, most)
        try:
            return read, decode(read.definition)
        except UnknownDefinition as error:
            message = f"the schedule {name!r} was brought by another release: {error}"
            raise UnknownDefinition(message) from None

    async def _read(self, name: str, most: int = 0) -> Read:
        read = await self._ask(schedules.read(self._prefix, name=name, most=most))
        if not read.definition:
            await self._refuse(name)
        return read

    async def _refuse(self, name: str) -> None:
        if self._declares(name):
            message = (
                f"the schedule {name!r} is in this code, and not yet on the server: a worker of "
                "the app brings it as it starts, or `aioq scheduler`"
            )
            raise ScheduleNotFound(message)
        names = [each.name async for each in self._stored()]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        if not hint:
            hint = "; there are: " + ", ".join(sorted(names)[:10]) if names else "; there is none"
        message = f"no schedule {name!r}{hint}"
        raise ScheduleNotFound(message)

    async def _ask(self, call: Call[T]) -> T:
        return await self._broker.persist(call, patience=self._broker.enqueue_timeout)

    def _stored(self) -> AsyncGenerator[schedules.Stored]:
        return stored(self._broker, patience=self._broker.enqueue_timeout)

    @property
    def _broker(self) -> Broker:
        return self._home.producer.client.broker()

    @property
    def _prefix(self) -> str:
        return self._home.producer.client.keys.prefix


async def stored(broker: Broker, *, patience: float | None) -> AsyncGenerator[schedules.Stored]:
    """Read all schedules, a page at a time; one may come twice.

    Raises:
        BrokerUnavailable: the server stayed away for `patience` seconds (None: for ever).
    """
    after = "0"
    while True:
        call = schedules.page(broker.keys.prefix, after=after, most=PER_CALL)
        page = await broker.persist(call, patience=patience)
        for each in page.schedules:
            yield each
        after = page.after
        if after == "0":
            return


def signature(given: object, *, where: str) -> Signature[Any]:
    """Check that something is a signature.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(given, Signature):
        return cast("Signature[Any]", given)
    hint = f"write {given.name}.s(...)" if isinstance(given, Task) else "it is task.s(...)"
    message = f"{where}: {given!r} is no signature: {hint}"
    raise ConfigurationError(message)


def policy(given: Mapping[str, Any], *, where: str) -> Policy:
    """Check the options of a schedule.

    Raises:
        ConfigurationError: naming the option, its value and what it may be.
    """
    for name in given:
        if name not in POLICY_NAMES:
            raise ConfigurationError(f"{where}: {options.unknown('option', name, POLICY_NAMES)}")
    for name, known in _CHOICES.items():
        if name in given and given[name] not in known:
            choice = ", ".join(map(repr, known))
            raise ConfigurationError(f"{where}: {name}={given[name]!r} is wrong: it is {choice}")
    for name in ("missed_window", "jitter"):
        value = given.get(name, 0)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= LONGEST:
            message = f"{where}: {name}={value!r} is wrong: it is a number of seconds, 0 or more"
            raise ConfigurationError(message)
    return Policy(**given)


_CHOICES = {"missed": get_args(Missed), "overlap": get_args(Overlap)}


def target_of(prepared: Prepared, *, where: str) -> Target:
    """Return what a schedule calls.

    Raises:
        ConfigurationError: one of its options makes no sense for many jobs.
    """
    made = prepared.job
    wrong = {
        "countdown or eta": made.due,
        "job_id": made.nonce,
        "an absolute expires": made.expires and not made.expires.startswith("+"),
    }
    for what, is_given in wrong.items():
        if is_given:
            hint = "; give seconds" if "expires" in what else ""
            message = f"{where}: {what} cannot be given to a schedule, which makes many jobs{hint}"
            raise ConfigurationError(message)
    return Target(made.task, made.lane, made.payload, made.expires)


def _unsteady(name: str) -> BrokerUnavailable:
    message = f"the schedule {name!r} is changed by somebody again and again; try again"
    return BrokerUnavailable(message)
