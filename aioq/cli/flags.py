"""Options made from the settings, and the checks that come before anything is loaded.

The struct `Settings` has the name, the type, the range and the meaning of each option; nothing
of that is written twice.
"""

import ast
import functools
import inspect
import itertools
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import click
import msgspec
from msgspec.inspect import FloatType, IntType, StrType, UnionType, VarTupleType, type_info

from aioq.app import environment
from aioq.core import settings as core
from aioq.core.errors import ConfigurationError
from aioq.core.options import Weight
from aioq.core.settings import Settings
from aioq.embedded import urls

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(*names: str) -> Callable[[Command], Command]:
    """Give a command an option for each of these settings; one that is not given is None."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            flag = f"--{name.replace('_', '-')}"
            command = click.option(flag, name, cls=_SettingOption, type=_click_type(name))(command)
        return command

    return decorate


def app_option(command: Command) -> Command:
    """Give a command `-A`; the one before the command counts as well."""
    return click.option(
        "-A",
        "--app",
        "app_flag",
        metavar="MODULE:APP",
        callback=or_before_the_command,
        help="The app.  [env: AIOQ_APP]",
    )(command)


def refuse_app(ctx: click.Context) -> None:
    """Refuse `-A` before a command that imports no app."""
    if ctx.find_root().params.get("app"):
        message = f"`aioq {ctx.info_name}` asks the server only and imports no app; leave out -A"
        raise click.UsageError(message, ctx)


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


def written(chosen: Mapping[str, Any]) -> list[str]:
    """Write flags as they stand on a command line."""
    words: list[str] = []
    for name, value in chosen.items():
        words.append(f"--{name.replace('_', '-')}={_text(value)}")
    return words


def _text(value: object) -> object:
    match value:
        case dict():
            return ",".join(
                f"{name}:{each}" for name, each in cast("dict[str, int]", value).items()
            )
        case tuple():
            return ",".join(cast("tuple[str, ...]", value))
        case _:
            return value


def settle(flags: Mapping[str, Any]) -> Settings:
    """Settle the settings as far as they are known without the app.

    Raises:
        click.UsageError: the environment, pyproject.toml or the URL is wrong.
    """
    try:
        settings = environment.resolve(flags)
        if settings.url is not None:
            check_url(settings.url)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    return settings


def check_url(url: str) -> None:
    """Read a URL, without connecting to anything.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if url.startswith("embedded:"):
        urls.server_of(url)
    environment.check_url(url)


class _SettingOption(click.Option):
    """An option whose help is the docstring of its field."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the flag and its meaning, with default and environment variable."""
        name = self.name or ""
        default = getattr(Settings(), name)
        facts = [] if default is None else [f"default: {default}"]
        facts.append(f"env: {core.environment_name(name)}")
        self.help = f"{_meanings().get(name, '')}  [{'; '.join(facts)}]".strip()
        return super().get_help_record(ctx)


class _Names(click.ParamType[Any]):
    """Names separated by commas, each of which matches a pattern, and may have a weight."""

    name = "a,b"

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...] | dict[str, int]:
        """Split the text, and check each name and each weight."""
        try:
            names = core.read_queues(value)
        except ValueError as error:
            self.fail(f"{value!r} is wrong: {error}", param, ctx)
        if not names:
            self.fail("give at least one name", param, ctx)
        for name in names:
            if not self._pattern.search(name):
                self.fail(f"{name!r} is no name: no spaces, colons, commas or braces", param, ctx)
        if isinstance(names, dict):
            return {name: self._weight(name, text, param, ctx) for name, text in names.items()}
        return tuple(dict.fromkeys(names))

    def _weight(
        self, name: str, text: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return msgspec.convert(text, Weight, strict=False)
        except msgspec.ValidationError:
            message = f"{text!r} is no weight for {name!r}: a whole number from 1 to 1000"
            self.fail(message, param, ctx)


def _click_type(field: str) -> Any:  # noqa: ANN401 - any of click's types
    annotation = next(each.type for each in msgspec.structs.fields(Settings) if each.name == field)
    if typing.get_origin(annotation) is typing.Literal:
        return click.Choice(typing.get_args(annotation), case_sensitive=False)
    kind = type_info(annotation)
    if isinstance(kind, UnionType):
        kind = next(each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType))
    if isinstance(kind, IntType):
        return click.IntRange(kind.ge, kind.le)
    if isinstance(kind, FloatType):
        return click.FloatRange(kind.ge, kind.le)
    if isinstance(kind, VarTupleType) and isinstance(kind.item_type, StrType):
        return _Names(kind.item_type.pattern or "")
    return str


@functools.cache
def _meanings() -> dict[str, str]:
    """Read the docstrings of the fields, which Python keeps in the source alone."""
    try:
        source = inspect.getsource(core)
    except OSError:  # installed without sources
        return {}
    tree = ast.parse(source)
    classes = (each for each in tree.body if isinstance(each, ast.ClassDef))
    body = next(each.body for each in classes if each.name == Settings.__name__)
    found: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str() as meaning)):
                found[name] = meaning
            case _:
                pass
    return found


def or_before_the_command(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's signature
    value: str | None,
) -> str | None:
    """Take the `-A` before a command for one after it; callback of that option."""
    before: str | None = ctx.find_root().params.get("app")
    if value and before and value != before:
        message = f"two apps are given: -A {before} before the command, and -A {value} after it"
        raise click.UsageError(message, ctx)
    return value or before
