"""The options of a task and of one call: defaults, and checks."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, cast

import msgspec
from msgspec import Meta

from aioq.core import bucket, codec
from aioq.core.bucket import Concurrency, Rate, TokenBucket
from aioq.core.clock import LONGEST, milliseconds, moment_ms
from aioq.core.cron import Schedule
from aioq.core.errors import ConfigurationError
from aioq.core.recurring import as_schedules
from aioq.core.retry import RetryPolicy
from aioq.core.unique import Unique, read_unique

Executor = Literal["loop", "thread", "process"]
Seconds = Annotated[float, Meta(ge=0, le=LONGEST)]
Limit = Annotated[float, Meta(gt=0, le=LONGEST)]
"""Seconds after which something ends that has begun."""
Priority = Annotated[int, Meta(ge=0, le=9)]
QueueName = Annotated[str, Meta(pattern=r"^[^\s:{},]{1,100}\Z")]
"""Colons, braces, commas and spaces have a meaning in keys and on the command line."""
Weight = Annotated[int, Meta(ge=1, le=1000)]
"""Of a queue: how often it goes first."""
JobId = Annotated[str, Meta(pattern=r"^[!-z|~]{1,128}\Z")]
"""Printable ASCII without spaces and braces, at most 128 characters."""

if TYPE_CHECKING:
    Rates = tuple[TokenBucket, ...]
    Slots = tuple[Concurrency, ...]
    Schedules = tuple[Schedule, ...]
    Uniqueness = Unique | Literal[False] | None
else:  # msgspec need not look into what is checked already
    Rates = Slots = Schedules = tuple
    Uniqueness = Any

_USUAL_CRASHES = 3
"""What the server takes for the limit of a task that it was told nothing about."""


class TaskOptions(TypedDict, total=False):
    """What `@app.task(...)` accepts, for the type checker; `TaskDefinition` has the meaning."""

    name: str
    queue: str
    priority: int
    max_retries: int | None
    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    retry_kwargs: Mapping[str, Any]
    default_retry_delay: float
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    expires: float | None
    time_limit: float | None
    soft_time_limit: float | None
    max_crashes: int | None
    ignore_result: bool
    result_expires: float
    acks_late: bool
    executor: Executor
    compression: codec.Compression | None
    rate_limit: Rate | Sequence[Rate] | None
    rate_limit_name: str | None
    max_concurrency: int | Concurrency | Sequence[int | Concurrency] | None
    fair_by: Callable[..., Any] | None
    unique: bool | Unique | None
    schedule: Schedule | float | timedelta | Sequence[Schedule | float | timedelta] | None


class CallOptions(TypedDict, total=False):
    """What `task.options(...)` accepts, for the type checker."""

    countdown: float | None
    eta: datetime | None
    expires: float | datetime | None
    queue: str | None
    priority: int | None
    job_id: str | None
    headers: dict[str, Any] | None
    unique: bool | Unique | None


class TaskDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settled options of one task."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    """Default: `module.qualname` of the function."""
    queue: QueueName | None = None
    """None: routes and `Settings.default_queue` decide."""
    priority: Priority | None = None
    """0-9, higher first; None: routes decide, else 5."""
    max_retries: Annotated[int, Meta(ge=0)] | None = 3
    """None: for ever.  Counts user errors only."""
    autoretry_for: tuple[type[BaseException], ...] = ()
    """Errors after which the job is tried again by itself."""
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    """Errors among them after which it is not."""
    default_retry_delay: Seconds = 180
    """Seconds before a retry that names no delay of its own."""
    retry_backoff: bool | Annotated[float, Meta(gt=0)] = False
    """True: `default_retry_delay` x 2^n after n retries; a number: that x 2^n."""
    retry_backoff_max: Seconds = 600
    """Seconds that no backoff exceeds."""
    retry_jitter: bool = True
    """Spread a backoff evenly between 0 and its length, so that retries do not come in waves."""
    expires: Seconds | None = None
    """Seconds after the enqueue; a job that has not started by then ends as REVOKED."""
    time_limit: Limit | None = None
    """Seconds from the start of the function; then it is cancelled and fails."""
    soft_time_limit: Limit | None = None
    """Seconds until `SoftTimeLimitExceeded` is raised inside the task, which may clean up."""
    max_crashes: Annotated[int, Meta(ge=1)] | None = _USUAL_CRASHES
    """Deliveries that may end with the death of their process; None: any number."""
    acks_late: bool = True
    """False: at most once; a job that was interrupted fails and does not run again."""
    ignore_result: bool = False
    """Keep no result; asking for it gives None."""
    result_expires: Seconds | None = None
    """Seconds a result is kept; None: `Settings.result_expires`."""
    executor: Executor = "loop"
    """Where it runs: "loop" for `async def`, "thread" for `def`, "process" for CPU work."""
    compression: codec.Compression | None = None
    """"gzip" or "zstd", for payloads of more than `Settings.compression_threshold` bytes."""
    rate_limit: Rates = ()
    """A pace, or several, that hold across all workers: "10/m", or a `TokenBucket`."""
    rate_limit_name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """Tasks that give the same name share one rate limit; None: the task's name."""
    max_concurrency: Slots = ()
    """Jobs that run at the same time across all workers: a number, or a `Concurrency`."""
    fair_by: Callable[..., Any] | None = None
    """Called as the task would be; a queue's jobs go round robin among the keys it returns."""
    unique: Uniqueness = None
    """One live job for each key: True, for the same arguments; or a `Unique`."""
    schedule: Schedules = ()
    """When jobs of it are made by themselves: `crontab(...)`, `every(...)`, or several of them."""

    @property
    def retry_policy(self) -> RetryPolicy:
        """The retry options alone, as `decide` needs them."""
        return RetryPolicy(
            max_retries=self.max_retries,
            autoretry_for=self.autoretry_for,
            dont_autoretry_for=self.dont_autoretry_for,
            default_retry_delay=self.default_retry_delay,
            retry_backoff=self.retry_backoff,
            retry_backoff_max=self.retry_backoff_max,
            retry_jitter=self.retry_jitter,
        )

    @property
    def crash_limit(self) -> str:
        """How many crashes bury a job, as the server is told: "" stands for the default."""
        if not self.acks_late:
            return "0"
        if self.max_crashes is None:
            return "inf"
        return "" if self.max_crashes == _USUAL_CRASHES else str(self.max_crashes)


OPTION_NAMES = frozenset(TaskDefinition.__struct_fields__) | {"retry_kwargs"}
_HINTS = {
    "time_limit": "None for no limit",
    "soft_time_limit": "None for no limit",
    "max_crashes": "None for no limit, acks_late=False for at most once",
}
"""What may have been meant by a value that is out of range."""


def define(options: Mapping[str, Any], *, where: str) -> TaskDefinition:
    """Check the options of a task and settle them.

    Raises:
        ConfigurationError: an option is unknown, out of range, or contradicts another.
    """
    given = dict(options)
    refuse(given, where=where)
    _unfold_retry_kwargs(given, where=where)
    if given.get("compression") is not None:
        codec.require_compression(given["compression"])
    classes: dict[str, Any] = {
        name: _exception_classes(given.pop(name), name, where)
        for name in ("autoretry_for", "dont_autoretry_for")
        if name in given
    }
    classes |= _limits(given, where=where)
    classes["schedule"] = as_schedules(given.pop("schedule", None), where=where)
    classes["unique"] = read_unique(given.pop("unique", None), where=where)
    try:
        checked = msgspec.convert(given, TaskDefinition)
    except msgspec.ValidationError as error:
        message = f"{where}: {explain(error, given)}"
        raise ConfigurationError(message) from None
    _check_soft_limit(checked, where=where)
    return msgspec.structs.replace(checked, **classes)


def refuse(options: Mapping[str, Any], *, where: str) -> None:
    """Refuse by name an option that does not exist.

    Raises:
        ConfigurationError: naming the option, and the nearest one that exists.
    """
    for name in options:
        if name not in OPTION_NAMES:
            raise ConfigurationError(f"{where}: {unknown('option', name, OPTION_NAMES)}")


def queue_name(name: str) -> str:
    """Check the name of a queue.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return msgspec.convert(name, QueueName)
    except msgspec.ValidationError:
        message = f"queue {name!r} is no name: no spaces, colons, commas or braces"
        raise ConfigurationError(message) from None


def unknown(what: str, name: str, known: frozenset[str] | tuple[str, ...]) -> str:
    """Say that a name is unknown, and which one may have been meant."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown {what} {name!r}; {hint}"


def explain(error: msgspec.ValidationError, given: Mapping[str, Any]) -> str:
    """Say which field of `given` msgspec refused, and with which value."""
    reason, _, path = str(error).partition(" - at `$.")
    name = path.rstrip("`").split("[")[0].split(".")[0]
    if name not in given:
        return str(error)
    hint = f" ({_HINTS[name]})" if name in _HINTS else ""
    return f"{name}={given[name]!r} is wrong: {reason}{hint}"


def _limits(given: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Take out the options of limits, which are no plain values, and read them."""
    fair_by = given.pop("fair_by", None)
    if fair_by is not None and not callable(fair_by):
        message = (
            f"{where}: fair_by={fair_by!r} is wrong: it is a function of the task's arguments, "
            "such as lambda tenant, **_: tenant"
        )
        raise ConfigurationError(message)
    return {
        "rate_limit": bucket.read_rates(given.pop("rate_limit", None), where=where),
        "max_concurrency": bucket.read_slots(given.pop("max_concurrency", None), where=where),
        "fair_by": fair_by,
    }


def _check_soft_limit(checked: TaskDefinition, *, where: str) -> None:
    soft, hard = checked.soft_time_limit, checked.time_limit
    if soft is None:
        return
    if checked.executor == "thread":
        message = (
            f"{where}: soft_time_limit={soft:g} cannot be kept: nothing can be raised inside a "
            'thread from outside; make the task an async def, give it executor="process", or set '
            "soft_time_limit=None and use time_limit, which fails the job and leaves the thread"
        )
        raise ConfigurationError(message)
    if hard is not None and soft >= hard:
        message = (
            f"{where}: soft_time_limit={soft:g} comes too late, because time_limit={hard:g} ends "
            "the task; the soft limit is the shorter one"
        )
        raise ConfigurationError(message)


def _unfold_retry_kwargs(given: dict[str, Any], *, where: str) -> None:
    """Accept Celery's `retry_kwargs={"max_retries": 5, "countdown": 2}`."""
    table = given.pop("retry_kwargs", {})
    if not isinstance(table, Mapping):
        message = f"{where}: retry_kwargs={table!r} is wrong: it is a dict"
        raise ConfigurationError(message)
    for name, value in cast("Mapping[str, Any]", table).items():
        target = {"max_retries": "max_retries", "countdown": "default_retry_delay"}.get(name)
        if target is None:
            known = ("max_retries", "countdown")
            raise ConfigurationError(f"{where}: {unknown('key of retry_kwargs', name, known)}")
        given[target] = value


def _exception_classes(value: object, name: str, where: str) -> tuple[type[BaseException], ...]:
    classes: tuple[object, ...] = tuple(value) if isinstance(value, (tuple, list)) else (value,)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    found: list[type[BaseException]] = []
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            message = f"{where}: {name} takes exception classes, not {each!r}"
            raise ConfigurationError(message)
        found.append(each)
    return tuple(found)


class Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settled options of one call."""

    countdown: Seconds | None = None
    eta: datetime | None = None
    expires: Seconds | datetime | None = None
    queue: QueueName | None = None
    priority: Priority | None = None
    job_id: JobId | None = None
    headers: dict[str, Any] | None = None
    unique: Uniqueness = None
    """False: not unique, whatever the task says."""

    def due(self, timezone: tzinfo | None) -> str:
        """Return when it may run: `+ms` from now, absolute `ms`, or "" for at once."""
        if self.eta is not None:
            return str(moment_ms(self.eta, timezone))
        return f"+{milliseconds(self.countdown)}" if self.countdown else ""


CALL_NAMES = frozenset(Call.__struct_fields__)
NO_OPTIONS = Call()


def call(options: Mapping[str, Any], *, where: str) -> Call:
    """Check the options of one call and settle them.

    Raises:
        ConfigurationError: an option is unknown, out of range, or two of them contradict each
            other.
    """
    for name in options:
        if name not in CALL_NAMES:
            raise ConfigurationError(f"{where}: {unknown('option', name, CALL_NAMES)}")
    if options.get("eta") is not None and options.get("countdown") is not None:
        message = f"{where}: countdown and eta both say when; give one of them"
        raise ConfigurationError(message)
    given = dict(options)
    if given.get("unique") is not None:
        given["unique"] = read_unique(given["unique"], where=where) or False
    try:
        return msgspec.convert(given, Call)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {explain(error, options)}") from None


def expires_text(expires: float | datetime | None, timezone: tzinfo | None) -> str:
    """Return when a job expires: `+ms` from now, absolute `ms`, or "" for never."""
    if expires is None:
        return ""
    if isinstance(expires, datetime):
        return str(moment_ms(expires, timezone))
    return f"+{milliseconds(expires)}"
