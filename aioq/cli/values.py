"""Values on the command line: arguments, durations and moments in, results out."""

import json
import re
from datetime import datetime
from typing import Any, cast

import click
import msgspec

_KEYWORD = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|d|)")
_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """`10s`, `5m`, `2h`, `7d`, or plain seconds."""

    name = "duration"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no duration: write 10s, 5m, 2h, 7d or seconds", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


class Moment(click.ParamType[datetime]):
    """A moment in ISO 8601."""

    name = "iso time"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment; without an offset it is naive."""
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time in ISO 8601: 2030-01-31T12:00:00Z", param, ctx)


class Json(click.ParamType[Any]):
    """A JSON document of one kind."""

    name = "json"

    def __init__(self, kind: type[list[Any]] | type[dict[str, Any]]) -> None:
        self._kind = kind

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - a list, or a dict
        """Return the document."""
        what = "array" if self._kind is list else "object"
        try:
            document = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is no JSON: {error}", param, ctx)
        if not isinstance(document, self._kind):
            self.fail(f"{value!r} is no JSON {what}", param, ctx)
        return cast("Any", document)


def read_arguments(words: tuple[str, ...]) -> tuple[list[Any], dict[str, Any]]:
    """Read `ARG` and `key=value`: each as JSON where it parses, else as text."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        keyword = _KEYWORD.fullmatch(word)
        if keyword is None:
            args.append(_read(word))
        else:
            kwargs[keyword[1]] = _read(keyword[2])
    return args, kwargs


def _read(word: str) -> Any:  # noqa: ANN401 - any value of JSON
    try:
        return json.loads(word, parse_constant=_refuse)
    except ValueError:
        return word


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which are Python's and not JSON's."""
    raise ValueError(constant)


def show(value: object) -> str:
    """Write a value as JSON, or as Python does where JSON cannot."""
    try:
        return dump(value)
    except (TypeError, ValueError):
        return repr(value)


def plain(value: object) -> object:
    """Return the value where JSON can write it, else its `repr`."""
    try:
        dump(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


def dump(value: object) -> str:
    """Write a value as JSON.

    Raises:
        TypeError, ValueError: JSON cannot write it.
    """
    # Bytes stay as they are, so that they are refused: as base64 they would pass for text.
    builtin = msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview))
    return json.dumps(builtin, ensure_ascii=False, allow_nan=False)
