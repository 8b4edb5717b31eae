"""The reader without hiredis reads what hiredis reads, however the bytes arrive."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.broker.resp import (
    INCOMPLETE,
    Argument,
    PlainReader,
    Reader,
    Reply,
    ReplyError,
    new_reader,
    pack,
    plain_pack,
)

LINES = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)
REPLIES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.binary(max_size=40)
    | st.integers(-(2**63), 2**63 - 1)
    | LINES.map(lambda text: text.encode())
    | LINES.map(ReplyError),
    lambda items: st.lists(items, max_size=4),
    max_leaves=12,
)


def written(reply: Reply, *, as_line: bool) -> bytes:
    """Write a reply as a server does; text as a line or as a bulk."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, ReplyError):
        return b"-%b\r\n" % str(reply).encode()
    if isinstance(reply, list):
        items = cast("list[Any]", reply)
        return b"*%d\r\n" % len(items) + b"".join(written(each, as_line=as_line) for each in items)
    if as_line and b"\r" not in reply and b"\n" not in reply:
        return b"+%b\r\n" % reply
    return b"$%d\r\n%b\r\n" % (len(reply), reply)


def comparable(reply: Reply) -> Reply:
    """Make errors comparable, which exceptions are not."""
    if isinstance(reply, ReplyError):
        return ("error", str(reply), reply.code)
    if isinstance(reply, list):
        items = cast("list[Any]", reply)
        return [comparable(each) for each in items]
    return reply


def read(reader: Reader, chunks: list[bytes]) -> list[Reply]:
    found: list[Reply] = []
    for chunk in chunks:
        reader.feed(chunk)
        while (reply := reader.gets()) is not INCOMPLETE:
            found.append(comparable(reply))
    return found


def test_hiredis_is_used_where_it_is_installed() -> None:
    assert not isinstance(new_reader(), PlainReader)
    assert pack is not plain_pack


@given(replies=st.lists(REPLIES, max_size=4), data=st.data(), as_line=st.booleans())
def test_both_readers_give_the_same_replies_wherever_the_bytes_are_cut(
    replies: list[Any], data: st.DataObject, *, as_line: bool
) -> None:
    stream = b"".join(written(reply, as_line=as_line) for reply in replies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = [comparable(reply) for reply in replies]
    assert read(PlainReader(), chunks) == expected
    assert read(new_reader(), chunks) == expected


def test_a_reply_that_arrives_byte_by_byte_is_read() -> None:
    stream = b"*2\r\n$3\r\na\r\n\r\n*-1\r\n:7\r\n"
    assert read(PlainReader(), [bytes([byte]) for byte in stream]) == [[b"a\r\n", None], 7]


@given(st.lists(st.binary() | st.integers(-(2**63), 2**63 - 1) | st.text(), min_size=1).map(tuple))
def test_both_pack_a_command_into_the_same_bytes(command: tuple[Argument, ...]) -> None:
    assert plain_pack(command) == pack(command)


def test_what_is_no_resp_is_a_lost_connection() -> None:
    for make in (PlainReader, new_reader):
        reader = make()
        reader.feed(b"HTTP/1.1 400 Bad Request\r\n")
        with pytest.raises(ConnectionError):
            reader.gets()


@pytest.mark.parametrize("nonsense", [b":seven\r\n", b"$x\r\n", b"*1.5\r\n", b"$\r\n"])
def test_a_number_that_is_none_is_a_lost_connection(nonsense: bytes) -> None:
    for make in (new_reader, PlainReader):
        reader = make()
        reader.feed(nonsense)
        with pytest.raises(ConnectionError):
            reader.gets()


def test_the_code_of_an_error_is_its_first_word() -> None:
    assert ReplyError("NOSCRIPT No matching script.").code == "NOSCRIPT"
