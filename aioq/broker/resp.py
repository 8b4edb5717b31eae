"""RESP2, the language of the server: pack commands, read replies.

hiredis does both where it is installed (the extra `fast`); else the code below.  Replies come
as bytes, int, None, list, or a `ReplyError` in place of a value.

Protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from aioq.core.errors import AioqError

Reply: TypeAlias = Any
"""bytes, int, None, ReplyError, or a list of these; whoever asked knows which."""
Argument = bytes | str | int
Row = TypeVar("Row", bound=NamedTuple)


class ReplyError(AioqError):
    """The server refused a command; the first word of the message is its code."""

    @property
    def code(self) -> str:
        """The first word, such as NOSCRIPT or OOM."""
        return str(self).partition(" ")[0]


def rows(kind: type[Row], flat: Reply) -> list[Row]:
    """Read a reply in which rows lie one after the other, with the fields of `kind`."""
    size = len(kind._fields)
    return list(map(kind._make, zip(*(flat[at::size] for at in range(size)), strict=True)))


class _Incomplete:
    """Stands for a reply of which bytes are missing; None is a value."""


INCOMPLETE = _Incomplete()


class Reader(Protocol):
    """Turns a stream of bytes into replies."""

    def feed(self, data: bytes) -> object:
        """Take bytes as they arrived."""
        ...

    def gets(self) -> Reply:
        """Return the next whole reply, or INCOMPLETE."""
        ...


class PlainReader:
    """The reader without hiredis."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def gets(self) -> Reply:
        """Return the next whole reply, or INCOMPLETE."""
        start = self._at
        try:
            reply = self._reply()
        except ValueError as error:
            message = f"the server does not speak RESP2: {error}"
            raise ConnectionError(message) from None
        if reply is INCOMPLETE:
            self._at = start
        return reply

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", self._at)
        if end < 0:
            return None
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _reply(self) -> Reply:
        line = self._line()
        if line is None:
            return INCOMPLETE
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return self._bulk(int(rest))
        if kind == b"*":
            return self._array(int(rest))
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return ReplyError(rest.decode(errors="replace"))
        if kind == b"+":
            return rest
        message = f"the server does not speak RESP2: it sent {line[:40]!r}"
        raise ConnectionError(message)

    def _bulk(self, length: int) -> Reply:
        if length < 0:
            return None
        end = self._at + length
        if len(self._buffer) < end + 2:
            return INCOMPLETE
        data = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return data

    def _array(self, length: int) -> Reply:
        if length < 0:
            return None
        items: list[Reply] = []
        for _ in range(length):
            item = self._reply()
            if item is INCOMPLETE:
                return INCOMPLETE
            items.append(item)
        return items


def plain_pack(command: tuple[Argument, ...]) -> bytes:
    """Pack one command without hiredis."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _choose() -> tuple[Callable[[], Reader], Callable[[tuple[Argument, ...]], bytes]]:
    try:
        hiredis = import_module("hiredis")
    except ImportError:
        return PlainReader, plain_pack

    def reader() -> Reader:
        return hiredis.Reader(
            protocolError=ConnectionError, replyError=ReplyError, notEnoughData=INCOMPLETE
        )

    return reader, hiredis.pack_command


new_reader: Callable[[], Reader]
pack: Callable[[tuple[Argument, ...]], bytes]
new_reader, pack = _choose()
