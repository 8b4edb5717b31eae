"""The generated parts of the reference, as Markdown; made from the code, so they cannot go stale.

Only the standard library and aioq are needed, so that a test can ask what the tables hold.
"""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec
from msgspec import inspect as types

import aioq
from aioq.broker import keys, rights
from aioq.broker.keys import Keys
from aioq.cli.main import cli
from aioq.core import errors, options, settings
from aioq.core.options import Call, TaskDefinition
from aioq.core.settings import Settings

# What the struct itself leaves to its name.
_TASK_MEANINGS = {
    "name": "The task's name on the server. For `__main__` the file's stem stands for the module.",
    "autoretry_for": "Exception classes after which the job is retried by itself.",
    "dont_autoretry_for": "Exceptions to `autoretry_for`.",
    "retry_backoff_max": "Seconds; no backoff is longer.",
    "retry_jitter": "Take the delay at random between 0 and the backoff (full jitter). Only "
    "`retry_backoff` is affected, never an explicit delay.",
    "ignore_result": "Store nothing; `result()` then gives `None`.",
    "executor": "Where the function runs: the event loop, a thread, or a child process.",
    "compression": "Compress payloads of `Settings.compression_threshold` bytes and more.",
}
_TASK_DEFAULTS = {
    "name": "`module.qualname`",
    "queue": "its route, else `Settings.default_queue`",
    "priority": "its route, else `5`",
    "result_expires": "`Settings.result_expires`",
    "executor": '`"loop"` for `async def`, `"thread"` for `def`',
    "rate_limit": "`None`",
    "max_concurrency": "`None`",
}
_TASK_TYPES = {
    "rate_limit": 'text such as `"10/m"` (s, m, h, d), a number per second, a `TokenBucket`, or a '
    "list of these",
    "max_concurrency": "`int` >= 1, a `Concurrency`, or a list of these",
    "fair_by": "a function of the task's arguments",
    "unique": "`bool`, or a `Unique`",
    "schedule": "`crontab(...)`, `every(...)`, a number of seconds, or a list of these",
}
_CALL_MEANINGS = {
    "countdown": "Seconds from now, before which the job does not start.",
    "eta": "Moment before which it does not start, in place of `countdown`.",
    "expires": "Seconds from now, or a moment, after which it is not started: it ends as REVOKED.",
    "queue": "In place of the task's queue.",
    "priority": "In place of the task's priority; higher first.",
    "job_id": "An id of your own. While a job with this id is known, a second call returns it.",
    "unique": "In place of the task's `unique`; False: this call is not.",
    "headers": "Values that travel with the job; the task reads them from `ctx.headers`.",
}
_SETTING_MEANINGS = {
    "default_queue": "Queue of tasks that name none.",
    "log_format": "For the command line.",
}


def settings_table() -> str:
    """Every field of Settings, with its environment variable."""
    documented = {**_SETTING_MEANINGS, **attribute_docs(Settings)}
    rows = [
        (
            f"`{field.name}`",
            f"`{settings.environment_name(field.name)}`",
            describe(field.type),
            _default(field),
            documented[field.name],
        )
        for field in _fields(Settings)
        if field.name in settings.SETTING_NAMES
    ]
    return table(("field", "environment", "type and range", "default", "meaning"), rows)


def task_options_table() -> str:
    """Every option of `@app.task`."""
    documented = {**_TASK_MEANINGS, **attribute_docs(TaskDefinition)}
    rows = [
        (
            f"`{field.name}`",
            _TASK_TYPES.get(field.name) or describe(field.type),
            _TASK_DEFAULTS.get(field.name) or _default(field),
            documented[field.name],
        )
        for field in _fields(TaskDefinition)
    ]
    rows += [
        ("`bind`", "`bool`", "`False`", "Give the function its `Context` as the first argument."),
        (
            "`retry_kwargs`",
            "table",
            "`{}`",
            "Celery's spelling of `max_retries` and, as `countdown`, `default_retry_delay`.",
        ),
    ]
    return table(("option", "type and range", "default", "meaning"), rows)


def call_options_table() -> str:
    """Every option of one call."""
    rows = [
        (
            f"`{field.name}`",
            _TASK_TYPES.get(field.name) or describe(field.type),
            _CALL_MEANINGS[field.name],
        )
        for field in _fields(Call)
    ]
    return table(("option", "type and range", "meaning"), rows)


def error_names() -> list[str]:
    """The public exceptions, roots first."""
    public = [name for name in aioq.__all__ if name in vars(errors)]
    return sorted(public, key=lambda name: (len(getattr(aioq, name).__mro__), name))


def errors_tree() -> str:
    """The public exceptions and what each derives from."""
    rows: list[tuple[str, str]] = []
    for name in error_names():
        bases = [base.__name__ for base in getattr(aioq, name).__bases__]
        rows.append((f"{{py:class}}`aioq.{name}`", ", ".join(f"`{base}`" for base in bases)))
    return table(("error", "derives from"), rows)


def errors_details() -> str:
    """Each public exception with its docstring."""
    parts = [
        f"```{{eval-rst}}\n.. autoexception:: aioq.{name}\n   :members:\n```\n"
        for name in error_names()
    ]
    return "\n".join(parts)


def keys_table() -> str:
    """Every kind of key on the server."""
    rows = [(f"`{kind.name}`", kind.type, kind.expiry, _plain(kind.meaning)) for kind in keys.TABLE]
    return table(("key", "type", "expiry", "meaning"), rows)


def record_table() -> str:
    """Every field of a job's record."""
    rows = [(f"`{name}`", _plain(meaning)) for name, meaning in keys.RECORD_FIELDS.items()]
    return table(("field", "meaning"), rows)


def rights_of_roles() -> str:
    """What an ACL gives to each kind of user, as a command for the server."""
    parts: list[str] = []
    for role in rights.ROLES:
        rules = " ".join(rights.rules_of(role, Keys("aioq").prefix))
        command = f"ACL SETUSER {role.name} on >secret {rules}"
        parts.append(f"A **{role.name}** {role.does}:\n\n```text\n{command}\n```\n")
    return "\n".join(parts)


def commands() -> str:
    """Every command of the command line, with its help."""
    parts: list[str] = []
    for name, command in _all_commands(cli):
        with click.Context(command) as context:
            usage = " ".join(["aioq", name, *command.collect_usage_pieces(context)])
            records = [
                parameter.get_help_record(context)
                for parameter in command.params
                if isinstance(parameter, click.Option)
            ]
        rows = [(f"`{record[0]}`", _plain(record[1])) for record in records if record]
        help_text = inspect.cleandoc(command.help or "")
        level = "##" + "#" * name.count(" ")
        parts += [f"{level} aioq {name}", f"```text\n{usage}\n```", help_text]
        parts += [table(("option", ""), rows)] if rows else []
    return "\n\n".join(parts)


def _all_commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Return each command with its words, and after a group those of the group."""
    for word in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), word)
        assert command is not None  # noqa: S101 - narrows the type
        yield before + word, command
        if isinstance(command, click.Group):
            yield from _all_commands(command, f"{before}{word} ")


GENERATED: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "task options": task_options_table,
    "call options": call_options_table,
    "errors tree": errors_tree,
    "errors details": errors_details,
    "keys": keys_table,
    "rights": rights_of_roles,
    "record fields": record_table,
    "commands": commands,
}
"""What `<!-- generated: name -->` in a page stands for."""

_MARK = re.compile(r"^<!-- generated: ([a-z ]+) -->$", re.MULTILINE)


def expand(page: str) -> str:
    """Put the generated parts into the text of a page."""
    return _MARK.sub(lambda mark: GENERATED[mark[1]](), page)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("~", r"\~").replace("*", r"\*")


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the docstrings under the attributes of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    found: dict[str, str] = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for attribute, text in itertools.pairwise(statements):
        if (
            isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[attribute.target.id] = " ".join(str(text.value.value).split())
    return found


def _fields(struct: type[msgspec.Struct]) -> Sequence[types.Field]:
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)  # noqa: S101 - narrows the type
    return info.fields


def _default(field: types.Field) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return "`{}`"
    return _code(field.default)


def _code(value: object) -> str:
    return f'`"{value}"`' if isinstance(value, str) else f"`{value!r}`"


def describe(kind: types.Type) -> str:  # noqa: PLR0911 - one line per kind
    """Say what a field may hold, in a reader's words."""
    if isinstance(kind, types.UnionType):
        return " or ".join(describe(each) for each in kind.types)
    if isinstance(kind, types.LiteralType):
        return " or ".join(map(_code, kind.values))
    if isinstance(kind, (types.IntType, types.FloatType)):
        name = "`int`" if isinstance(kind, types.IntType) else "`float`"
        return " ".join([name, *_bounds(kind)])
    if isinstance(kind, types.VarTupleType):
        return f"list of {describe(kind.item_type)}"
    if isinstance(kind, types.StrType):
        return _PATTERNS.get(kind.pattern or "", "`str`")
    if isinstance(kind, types.CustomType):
        return "exception class"
    return _NAMES[type(kind)]


def _bounds(kind: types.IntType | types.FloatType) -> list[str]:
    if kind.ge is not None and kind.le is not None:
        return [f"from {kind.ge:,} to {kind.le:,}"]
    if kind.ge is not None:
        return [f">= {kind.ge:,}"]
    return [] if kind.gt is None else [f"> {kind.gt:,}"]


_NAMES: dict[type, str] = {
    types.NoneType: "`None`",
    types.BoolType: "`bool`",
    types.DateTimeType: "`datetime`",
    types.DictType: "table",
}


def _pattern(annotation: Any) -> str:  # noqa: ANN401 - an Annotated alias
    return annotation.__metadata__[0].pattern


_PATTERNS = {
    _pattern(options.QueueName): "queue name",
    _pattern(options.JobId): "job id",
}
