"""The settings of an app: one field each, from which flags, environment names and checks follow."""

import zoneinfo
from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aioq.core import options
from aioq.core.errors import ConfigurationError

Seconds = options.Seconds


class _Remembering(type(msgspec.Struct)):
    """Lets a struct know which of its fields were given, so that a given default still counts."""

    if not TYPE_CHECKING:  # the checker must keep seeing the typed constructor

        def __call__(cls, *args: object, **given: Any) -> Any:  # noqa: ANN401 - any field
            unknown = [name for name in given if name not in SETTING_NAMES]
            if unknown:
                message = options.unknown("field", unknown[0], SETTING_NAMES)
                raise ConfigurationError(f"Settings: {message}")
            parsed = parse(given, where="Settings")
            return super().__call__(*args, **parsed, given=frozenset(given))


class Settings(msgspec.Struct, frozen=True, kw_only=True, metaclass=_Remembering):
    """How an app and its workers behave.

    A field that is not given is taken from the environment (`AIOQ_` and its name in capitals),
    then from `[tool.aioq]` in pyproject.toml, then from the default shown.  An unknown field or a
    value out of range is a `ConfigurationError` that names the field, the value and the range.
    """

    app: str | None = None
    """`module:app` for commands that are given none."""
    url: str | None = None
    """The server; None: the development server of this project, else `redis://localhost:6379/0`."""
    embedded: Literal["auto", "never"] = "auto"
    """Whether the development server may be chosen where no URL is given."""
    default_queue: options.QueueName = "default"
    """The queue of tasks for which neither an option nor a route names one."""
    result_expires: Seconds = 3600
    """Seconds the result of a job is kept."""
    timezone: str | None = None
    """What a naive `eta` means, such as "Europe/Paris"; None: naive datetimes are refused."""
    max_payload: Annotated[int, Meta(ge=1, le=64 * 1024 * 1024)] = 1024 * 1024
    """Bytes of encoded arguments that one job may carry."""
    compression_threshold: Annotated[int, Meta(ge=0)] = 1024
    """Bytes below which `compression=` leaves a payload as it is."""
    enqueue_timeout: Annotated[float, Meta(ge=0, le=60)] = 5
    """Seconds an enqueue keeps trying while the server is away."""
    startup_timeout: Seconds | None = 10
    """Seconds a starting worker keeps trying to reach the server; None: for ever."""
    allow_eviction: bool = False
    """Whether a worker starts where `maxmemory-policy` lets a full server throw jobs away."""
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Jobs one worker process runs at the same time."""
    queues: tuple[options.QueueName, ...] | dict[options.QueueName, options.Weight] | None = None
    """Those a worker serves, in order (`a,b`) or by weight (`a:3,b:1`); None: all the app names."""
    threads: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Threads for `def` tasks; None: min(32, cores + 4)."""
    process_workers: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Child processes for `executor="process"`; None: the number of cores."""
    lease: Annotated[float, Meta(ge=1, le=3600)] = 30
    """Seconds a silent worker keeps its jobs."""
    grace: Seconds = 25
    """Seconds a draining worker waits for its jobs before it gives them back."""
    processes: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Worker processes that `aioq worker` runs."""
    max_jobs: Annotated[int, Meta(ge=1)] | None = None
    """Jobs after which `aioq worker` replaces a worker process, about; None: never."""
    max_memory: Annotated[int, Meta(ge=1)] | None = None
    """Megabytes a worker process may take before `aioq worker` replaces it; None: no limit."""
    max_lifetime: Annotated[float, Meta(ge=1)] | None = None
    """Seconds after which `aioq worker` replaces a worker process, about; None: never."""
    events: bool = True
    """Whether workers let the server keep the last events: what `app.events()` reads."""
    unknown_task_patience: Seconds = 600
    """Seconds a job whose task no worker knows is offered around before it is a dead letter."""
    task_annotations: dict[str, dict[str, Any]] = msgspec.field(
        default_factory=dict[str, dict[str, Any]]
    )
    """Default options by task name or glob: `{"*": {...}, "mail.*": {...}}`."""
    task_routes: dict[str, str | dict[str, Any]] = msgspec.field(
        default_factory=dict[str, "str | dict[str, Any]"]
    )
    """Queue and priority by task name or glob: `{"mail.*": {"queue": "mail", "priority": 7}}`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """For the command line; the library never configures logging."""
    log_format: Literal["console", "json"] = "console"
    """For the command line: lines to read, or one JSON object per line."""
    given: frozenset[str] = frozenset()
    """Names of the fields that were given, set by the constructor."""

    @property
    def zone(self) -> tzinfo | None:
        """The timezone as an object."""
        return None if self.timezone is None else _zone(self.timezone)


SETTING_NAMES = frozenset(Settings.__struct_fields__) - {"given"}


def environment_name(field: str) -> str:
    """Return the environment variable of a field."""
    return f"AIOQ_{field.upper()}"


def parse(values: Mapping[str, Any], *, where: str, from_text: bool = False) -> dict[str, Any]:
    """Check raw values of fields, and give them their types.

    Args:
        values: field name to value.
        where: what to name in an error, such as "pyproject.toml [tool.aioq]".
        from_text: the values are strings, such as those of the environment.

    Raises:
        ConfigurationError: naming the field, the value and the range.
    """
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in SETTING_NAMES:
            raise ConfigurationError(f"{where}: {options.unknown('field', name, SETTING_NAMES)}")
        try:
            raw = _split(name, value) if from_text else value
            typed = msgspec.convert({name: raw}, Settings, strict=not from_text)
        except ValueError as error:  # among them msgspec's
            label = environment_name(name) if from_text else name
            reason = str(error).partition(" - at `$.")[0]
            message = f"{where}: {label}={value!r} is wrong: {reason}"
            raise ConfigurationError(message) from None
        parsed[name] = getattr(typed, name)
    _check_meaning(parsed, where=where)
    return parsed


def _check_meaning(parsed: Mapping[str, Any], *, where: str) -> None:
    """Check what types cannot say: a real timezone, options that exist."""
    if parsed.get("timezone") is not None:
        _zone(parsed["timezone"])
    annotations: dict[str, dict[str, Any]] = parsed.get("task_annotations") or {}
    for pattern, given in annotations.items():
        if "name" in given:
            message = f"{where}: task_annotations[{pattern!r}]: a task's name cannot be a default"
            raise ConfigurationError(message)
        options.define({"name": pattern, **given}, where=f"{where}: task_annotations[{pattern!r}]")
    routes: dict[str, str | dict[str, Any]] = parsed.get("task_routes") or {}
    for pattern, route in routes.items():
        given = {"queue": route} if isinstance(route, str) else route
        label = f"{where}: task_routes[{pattern!r}]"
        for name in given:
            if name not in {"queue", "priority"}:
                known = ("queue", "priority")
                raise ConfigurationError(f"{label}: {options.unknown('key', name, known)}")
        options.define({"name": pattern, **given}, where=label)


def _split(name: str, text: str) -> Any:  # noqa: ANN401 - the raw value of any field
    """Read the text of a list (`a,b`) or of a table (JSON)."""
    if text.lower() == "none":
        return None
    if name == "queues":
        return read_queues(text)
    if name in {"task_annotations", "task_routes"}:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text


def read_queues(text: str) -> list[str] | dict[str, str]:
    """Read names, `a,b`, or names and their weights, `a:3,b:1`; neither is checked.

    Raises:
        ValueError: a queue has no weight where others have one, or has two.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    weighted = [part.rpartition(":") for part in parts if ":" in part]
    if not weighted:
        return parts
    table = {name.strip(): weight.strip() for name, _, weight in weighted}
    if len(table) < len(parts):
        message = "give each queue one weight, as in a:3,b:1, or none of them"
        raise ValueError(message)
    return table


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        message = f"timezone={name!r} is unknown; give an IANA name such as 'Europe/Paris'"
        raise ConfigurationError(message) from None


def merge(*layers: Mapping[str, Any]) -> Settings:
    """Settle the settings from layers of parsed values, the strongest first."""
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        values.update(layer)
    return Settings(**values)
