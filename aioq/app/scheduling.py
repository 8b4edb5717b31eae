"""Schedules in code: `app.schedule(...)`, `@app.task(schedule=...)` and `app.beat_schedule`.

They are only noted here.  A worker that starts brings them to the server, where they belong to
the app's source; until then they can name tasks whose modules have not been imported.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple, Required, TypedDict, Unpack, cast

from aioq.app.source import Source
from aioq.broker.keys import split_lane
from aioq.core import options
from aioq.core.cron import Schedule
from aioq.core.errors import ConfigurationError
from aioq.core.options import CallOptions
from aioq.core.recurring import (
    POLICY_NAMES,
    Definition,
    Policy,
    Target,
    as_schedule,
    check_name,
    define,
)
from aioq.producer import Prepared
from aioq.schedules import Rule, ScheduleOptions, Schedules, policy, signature, target_of
from aioq.tasks import Home, Signature, Task

ByName = Callable[[str, tuple[Any, ...], Mapping[str, Any], CallOptions], Prepared]
"""Prepares a call of a task known by its name."""


class Declared(NamedTuple):
    """One schedule in code."""

    name: str
    place: str
    """Where it stands, for messages."""
    prepare: Callable[[], Prepared]
    rule: Schedule
    kept: Policy

    def target(self) -> Target:
        """Return what it calls.

        Raises:
            ConfigurationError: the call is wrong.
        """
        where = f"{self.place}, schedule {self.name!r}"
        try:
            return target_of(self.prepare(), where=where)
        except TypeError as error:
            raise ConfigurationError(f"{where}: {error}") from error


class BeatEntry(TypedDict, total=False):
    """One entry of `app.beat_schedule`, as Celery has it, for the type checker."""

    task: Required[str | Task[..., Any]]
    schedule: Required[Rule]
    args: Iterable[Any]
    kwargs: Mapping[str, Any]
    options: CallOptions
    missed: str
    missed_window: float
    overlap: str
    jitter: float


class BeatSchedule(MutableMapping[str, BeatEntry]):
    """Celery's table of schedules; each entry is checked when it is put in."""

    def __init__(self, add: Callable[[str, BeatEntry], None], remove: Callable[[str], None]):
        self._add = add
        self._remove = remove
        self._entries: dict[str, BeatEntry] = {}

    def __repr__(self) -> str:
        return repr(self._entries)

    def __getitem__(self, name: str) -> BeatEntry:
        return self._entries[name]

    def __setitem__(self, name: str, entry: BeatEntry) -> None:
        self._add(name, entry)
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]
        self._remove(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Scheduling:
    """What an app has to do with schedules.

    Args:
        home: that of its tasks.
        tasks: those tasks.
        by_name: prepares a call of a task by its name.
        frame: where the app is made.
    """

    def __init__(
        self,
        home: Home,
        tasks: Mapping[str, Task[..., Any]],
        by_name: ByName,
        frame: FrameType | None,
    ) -> None:
        self._home = home
        self._source = Source(self, frame)
        self._code = CodeSchedules(tasks, by_name)
        self.reconciled_ms: int | None = None
        """When this process first told the server what the code declares, by its clock."""

    @property
    def source(self) -> str:
        """`module:app`: the place in the code to which the schedules there belong."""
        return str(self._source)

    @property
    def schedules(self) -> Schedules:
        """The schedules on the server: list, add, pause, resume, remove or run them."""
        return Schedules(self._home, self._code.has)

    def schedule(
        self, name: str, sig: Signature[Any], schedule: Rule, **given: Unpack[ScheduleOptions]
    ) -> None:
        """Declare a schedule; it is fired while a worker of this app, or a scheduler, lives.

        Args:
            name: 1 to 100 letters, digits and signs, without spaces and braces.
            sig: the call, such as `report.s("weekly")`; its options count for each job.
            schedule: `crontab(...)`, `every(...)`, a number of seconds or a timedelta.
            **given: see `Schedules.add`.

        Raises:
            ConfigurationError: something of it is wrong, or another schedule has this name.
            TypeError: the arguments do not fit the task.
        """
        caller = cast("FrameType", inspect.currentframe()).f_back
        place = "?" if caller is None else f"{caller.f_code.co_filename}:{caller.f_lineno}"
        self._code.add(name, sig, schedule, given, place)

    @property
    def beat_schedule(self) -> BeatSchedule:
        """Celery's table of schedules: `app.beat_schedule = {"name": {"task": ..., ...}}`."""
        return self._code.beat

    @beat_schedule.setter
    def beat_schedule(self, table: Mapping[str, BeatEntry]) -> None:
        self._code.replace_beat(table)

    def declared_schedules(self) -> dict[str, Definition]:
        """Return the schedules that the code declares, by name; for the worker.

        Raises:
            ConfigurationError: one of them cannot work.
        """
        timezone = self._home.producer.settings.timezone
        return self._code.definitions(source=self.source, timezone=timezone)

    def scheduled_queues(self) -> frozenset[str]:
        """Return the queues of those schedules."""
        lanes = (each.lane.partition(" ")[0] for each in self.declared_schedules().values())
        return frozenset(split_lane(lane)[0] for lane in lanes)


class CodeSchedules:
    """The schedules that the code of one app declares.

    Args:
        tasks: those of the app; they may have schedules.
        by_name: prepares a call of a task by its name.
    """

    def __init__(self, tasks: Mapping[str, Task[..., Any]], by_name: ByName) -> None:
        self._tasks = tasks
        self._by_name = by_name
        self._declared: dict[str, Declared] = {}
        self._beat_names: set[str] = set()
        self.beat: BeatSchedule = BeatSchedule(self._add_entry, self._remove_entry)

    def add(
        self, name: str, sig: Signature[Any], rule: Rule, given: ScheduleOptions, place: str
    ) -> None:
        """Declare a schedule; see `Aioq.schedule`."""
        where = f"app.schedule({name!r})"
        called = signature(sig, where=where)
        declared = Declared(
            check_name(name),
            place,
            called.prepare,
            as_schedule(rule, where=where),
            policy(cast("dict[str, Any]", given), where=where),
        )
        # A shared task belongs to no app yet, or an annotation names what comes later: then the
        # worker checks the call when it starts.
        prepared: Prepared | None = None
        with suppress(ConfigurationError):
            prepared = called.prepare()
        if prepared is not None:
            target_of(prepared, where=where)
        self._note(declared)

    def has(self, name: str) -> bool:
        """Tell whether the code declares a schedule of this name."""
        return name in self._declared or any(each.name == name for each in self._of_tasks())

    def replace_beat(self, table: object) -> None:
        """Put a whole table in the place of `app.beat_schedule`."""
        if not isinstance(table, Mapping):
            message = f"app.beat_schedule={table!r} is wrong: it is a dict of schedules by name"
            raise ConfigurationError(message)
        entries = dict(cast("Mapping[str, BeatEntry]", table))  # it may be `self.beat`
        self.beat.clear()
        self.beat.update(entries)

    def check(self, task: Task[..., Any]) -> None:
        """Check a task that has a schedule of its own.

        Raises:
            ConfigurationError: it cannot be called without arguments, or its name is none for a
                schedule.
        """
        if not task.definition.schedule:
            return
        try:
            check_name(_numbered(task, len(task.definition.schedule)))
        except ConfigurationError as error:
            message = (
                f"task {task.name} has a schedule, which has its name, and {error}; give the task "
                "another one (name=...), or use app.schedule(name, ...)"
            )
            raise ConfigurationError(message) from None
        try:
            task.parameters.check((), {})
        except TypeError as error:
            message = (
                f"task {task.name} has a schedule and needs arguments ({error}); schedule it with "
                f"them: app.schedule(name, {task.__name__}.s(...), ...)"
            )
            raise ConfigurationError(message) from None

    def definitions(self, *, source: str, timezone: str | None) -> dict[str, Definition]:
        """Return all that the code declares, by name.

        Raises:
            ConfigurationError: a call is wrong, or two schedules have one name.
        """
        found = dict(self._declared)
        for each in self._of_tasks():
            if each.name in found:
                raise _twice(found[each.name], each)
            found[each.name] = each
        return {
            name: define(
                each.target(), each.rule, each.kept, name=name, source=source, timezone=timezone
            )
            for name, each in found.items()
        }

    def _of_tasks(self) -> Iterator[Declared]:
        for task in list(self._tasks.values()):
            rules = task.definition.schedule
            self.check(task)
            for number, rule in enumerate(rules, start=1):
                name, place = _numbered(task, number), f"task {task.name}"
                yield Declared(name, place, task.s().prepare, rule, Policy())

    def _add_entry(self, name: str, entry: BeatEntry) -> None:
        where = f"beat_schedule[{name!r}]"
        declared = _read_entry(name, entry, where, self._by_name)
        declared.target()
        if name in self._beat_names:
            del self._declared[name]
        self._note(declared)
        self._beat_names.add(name)

    def _remove_entry(self, name: str) -> None:
        self._beat_names.discard(name)
        del self._declared[name]

    def _note(self, declared: Declared) -> None:
        known = self._declared.get(declared.name)
        if known is not None and known.place != declared.place:  # the same one: it was reloaded
            raise _twice(known, declared)
        self._declared[declared.name] = declared


def _numbered(task: Task[..., Any], number: int) -> str:
    """Return the name of one of a task's schedules."""
    return task.name if number == 1 else f"{task.name}#{number}"


_ENTRY_KEYS = frozenset({"task", "schedule", "args", "kwargs", "options"}) | POLICY_NAMES


def _read_entry(name: str, entry: object, where: str, by_name: ByName) -> Declared:
    """Check one entry of Celery's table.

    Raises:
        ConfigurationError: naming the key, and what it may be.
    """
    if not isinstance(entry, Mapping):
        message = f'{where}: {entry!r} is wrong: it is {{"task": ..., "schedule": ...}}'
        raise ConfigurationError(message)
    given = dict(cast("Mapping[str, Any]", entry))
    for key in given:
        if key not in _ENTRY_KEYS:
            raise ConfigurationError(f"{where}: {options.unknown('key', key, _ENTRY_KEYS)}")
    for key in ("task", "schedule"):
        if key not in given:
            raise ConfigurationError(f"{where}: the key {key!r} is missing")
    task = given["task"]
    task_name = task.name if isinstance(task, Task) else task
    if not isinstance(task_name, str) or not task_name:
        message = f"{where}: task={task!r} is wrong: it is a task, or the name of one"
        raise ConfigurationError(message)
    args: object = given.get("args") or ()
    if isinstance(args, (str, bytes, Mapping)) or not isinstance(args, Iterable):
        message = f"{where}: args={args!r} is wrong: it is a tuple of arguments"
        raise ConfigurationError(message)
    positional = tuple(cast("Iterable[Any]", args))
    named = _read_dict(given, "kwargs", "arguments", where)
    settled = cast("CallOptions", _read_dict(given, "options", "options", where))
    options.call(cast("dict[str, Any]", settled), where=f"{where}: options")
    return Declared(
        check_name(name),
        where,
        lambda: by_name(task_name, positional, named, settled),
        as_schedule(given["schedule"], where=where),
        policy({key: given[key] for key in POLICY_NAMES if key in given}, where=where),
    )


def _read_dict(entry: Mapping[str, Any], key: str, what: str, where: str) -> dict[str, Any]:
    found: object = entry.get(key) or {}
    if not isinstance(found, Mapping):
        message = f"{where}: {key}={found!r} is wrong: it is a dict of {what} by name"
        raise ConfigurationError(message)
    return dict(cast("Mapping[str, Any]", found))


def _twice(known: Declared, added: Declared) -> ConfigurationError:
    message = (
        f"two schedules are named {added.name!r}: {known.place} and {added.place}; give one of "
        "them another name"
    )
    return ConfigurationError(message)
