"""The wire format: what is written is read again, and what is damaged is said to be."""

import builtins
import gzip
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioq.context import Context
from aioq.core import codec
from aioq.core.codec import Compression, NewerPayload, Payload
from aioq.core.errors import InvalidArguments, TaskFailed
from aioq.core.signature import Parameters
from tests.core.wire_types import TEXT, Address, same, typed_values

COMPRESSIONS: list[Compression | None] = [None, *get_args(Compression)]
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(max_size=20),
    lambda items: st.lists(items, max_size=4) | st.dictionaries(TEXT, items, max_size=4),
    max_leaves=10,
)
NAMES = st.dictionaries(TEXT, PLAIN, max_size=3)


def encode(
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    *,
    compression: Compression | None = None,
) -> bytes:
    return codec.encode_payload(
        args, kwargs or {}, headers, task="pkg.add", compression=compression, threshold=0
    )


def received(annotation: object, value: object) -> object:
    """Send a value to a task that annotates it so, and return what the task gets."""

    def task(value: object) -> None: ...

    task.__annotations__["value"] = annotation
    parameters = Parameters(task, task="task", injected=Context, bind=False)
    payload = codec.decode_payload(encode((value,)))
    [converted] = parameters.converters.args(payload.args)
    return converted


# The round trip


@given(typed_values())
def test_a_value_arrives_as_what_its_annotation_says(typed: tuple[Any, Any]) -> None:
    annotation, value = typed
    assert same(received(annotation, value), value)


@given(st.lists(PLAIN, max_size=3).map(tuple), NAMES, NAMES, st.sampled_from(COMPRESSIONS))
def test_args_kwargs_and_headers_arrive_whatever_the_compression(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    headers: dict[str, Any],
    compression: Compression | None,
) -> None:
    payload = codec.decode_payload(encode(args, kwargs, headers, compression=compression))
    assert payload == Payload(list(args), kwargs, headers)


@given(PLAIN)
def test_a_result_arrives_too(value: object) -> None:
    assert codec.decode_value(codec.encode_value(value)) == value


def test_an_aware_moment_keeps_its_instant_in_utc() -> None:
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    arrived = received(datetime, moment)
    assert isinstance(arrived, datetime)
    assert (arrived, arrived.tzinfo) == (moment, UTC)


def test_a_plain_payload_is_two_bytes_and_messagepack_without_empty_tails() -> None:
    assert encode((1, "a")) == b"\x01\x00\x91\x92\x01\xa1a"
    assert encode((1,), {"b": 2}) == b"\x01\x00\x92\x91\x01\x81\xa1b\x02"
    assert encode(headers={"h": 1}) == b"\x01\x00\x93\x90\x80\x81\xa1h\x01"


def test_only_what_is_large_is_compressed() -> None:
    def size(length: int, compression: Compression) -> int:
        return len(
            codec.encode_payload(("x" * length,), {}, None, task="t", compression=compression)
        )

    for compression in get_args(Compression):
        assert size(1000, compression) > 1000
        assert size(2000, compression) < 100


def test_compressing_twice_gives_the_same_bytes() -> None:
    assert encode(("x" * 999,), compression="gzip") == encode(("x" * 999,), compression="gzip")


def test_a_strict_model_of_pydantic_arrives_too() -> None:
    """Its fields travel as JSON does, and JSON has no UUID to be strict about."""

    class Strict(pydantic.BaseModel, strict=True):
        since: datetime
        inside: Address

    value = Strict(
        since=datetime(2030, 1, 1, tzinfo=UTC),
        inside=Address(street="x", since=datetime(2030, 1, 1, tzinfo=UTC)),
    )
    assert received(Strict, value) == value


# What cannot be written

CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "object"),
        (lambda: None, "function"),
        (2**64, "int"),
        (-(2**63) - 1, "int"),
        ("\ud800", "str"),
        (CYCLE, "list"),
        ([{"a": object()}], "list"),
        (sys, "module"),
    ],
)
def test_what_cannot_be_serialised_is_named_with_its_task_and_type(
    value: object, kind: str
) -> None:
    with pytest.raises(InvalidArguments, match=rf"^argument 2 of pkg\.add, of type {kind}, cannot"):
        encode((1, value))
    with pytest.raises(InvalidArguments, match=rf"^argument 'b' of pkg\.add, of type {kind}"):
        encode((1,), {"a": 2, "b": value})
    with pytest.raises(InvalidArguments, match=r"^the arguments of pkg\.add cannot"):
        encode((1,), headers={"h": value})


# What cannot be read


def assert_damaged_or_read(data: bytes) -> None:
    try:
        codec.decode_payload(data)
    except (InvalidArguments, NewerPayload):
        return


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x01")
@example(b"\x01\x00")
@example(b"\x01\x00\xc0")
@example(b"\x01\x00\x91\xc0")
@example(b"\x01\x03\x90")
@example(b"\x01\xff\x90")
def test_bytes_that_are_no_payload_are_damaged(data: bytes) -> None:
    assert_damaged_or_read(data)


@given(st.binary(max_size=60))
def test_a_payload_of_a_newer_format_is_said_to_be_newer(data: bytes) -> None:
    with pytest.raises(NewerPayload, match="has format 3, this worker reads formats up to 2"):
        codec.decode_payload(b"\x03" + data + b"\x00")


@given(st.data(), st.sampled_from(COMPRESSIONS))
def test_a_damaged_payload_is_damaged_whatever_the_compression(
    data: st.DataObject, compression: Compression | None
) -> None:
    good = bytearray(encode(("x" * 50, [1, 2.5, {"a": b"b"}]), compression=compression))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    assert_damaged_or_read(bytes(good[: data.draw(st.integers(at + 1, len(good)))]))


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x00" + b"\x91" * 100_000,
        b"\x01\x01" + gzip.compress(b"\x91" * 100_000),
        b"\x01\x01\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xff\xff\xff\xff",
        b"\x01\x02" + b"\x28\xb5\x2f\xfd\xff\xff",
    ],
    ids=["deep", "deep in gzip", "bad deflate", "bad zstd"],
)
def test_every_kind_of_damage_is_told_in_one_way(data: bytes) -> None:
    with pytest.raises(InvalidArguments, match="the payload is damaged"):
        codec.decode_payload(data)


def test_a_worker_that_lacks_zstd_leaves_the_job_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not the job's fault, so it is no reason to bury it."""
    data = encode(("x" * 99,), compression="zstd")
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    with pytest.raises(NewerPayload, match="zstd"):
        codec.decode_payload(data)


# Errors


def raised(error: BaseException) -> BaseException:
    """Give an error a traceback."""
    with suppress(BaseException):
        raise error
    return error


class Custom(Exception):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        message = "no text"
        raise RuntimeError(message)


class BadRepr:
    def __repr__(self) -> str:
        message = "no repr"
        raise RuntimeError(message)


def test_an_error_has_its_type_its_message_and_the_traceback_of_the_user() -> None:
    shown = codec.decode_error(codec.encode_error(raised(Custom("x", 1))))
    assert shown.exc_type == "tests.core.test_codec.Custom"
    assert shown.exc_message == "('x', 1)"
    assert shown.traceback.startswith("Traceback (most recent call last):\n")
    assert "in raised\n    raise error\n" in shown.traceback
    assert shown.traceback.endswith("tests.core.test_codec.Custom: ('x', 1)\n")


def test_the_error_behind_an_error_is_shown_too() -> None:
    error = Custom("outer")
    error.__cause__ = raised(KeyError("inner"))
    shown = codec.decode_error(codec.encode_error(raised(error)))
    assert "KeyError: 'inner'" in shown.traceback
    assert "direct cause" in shown.traceback


def test_the_traceback_may_be_left_out() -> None:
    data = codec.encode_error(raised(Custom("x")), with_traceback=False)
    assert codec.decode_error(data).traceback == ""


def test_a_long_traceback_loses_its_middle() -> None:
    text = codec.decode_error(codec.encode_error(raised(Custom("x" * 100_000)))).traceback
    assert len(text) < 17_000
    assert text.startswith("Traceback")
    assert "characters left out" in text


def test_an_error_takes_a_bounded_number_of_bytes() -> None:
    """Ten thousand dead letters keep theirs for a week (G13)."""
    assert len(codec.encode_error(raised(ValueError("x" * 5_000_000)))) < 100_000


BUILTINS: list[BaseException] = [
    Exception(),
    ValueError("x"),
    KeyError("k", 3),
    OSError(2, "No such file"),
    FileNotFoundError(2, "No such file", "name"),
    TimeoutError("late"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range"),
    SyntaxError("bad", ("file", 1, 2, "text")),
    StopAsyncIteration(),
    SystemExit(3),
    ImportError("no module", name="x"),
    ZeroDivisionError("division by zero"),
]


KINDS = [
    kind
    for kind in vars(builtins).values()
    if isinstance(kind, type)
    and issubclass(kind, BaseException)
    and not issubclass(kind, BaseExceptionGroup)
]


@pytest.mark.parametrize("error", BUILTINS, ids=lambda error: type(error).__name__)
def test_a_builtin_error_comes_back_as_the_cause(error: BaseException) -> None:
    failed = codec.failure(codec.encode_error(raised(error)))
    assert type(failed) is TaskFailed
    assert failed.exc_type == type(error).__name__
    assert type(failed.__cause__) is type(error)
    assert str(failed.__cause__) == str(error) or isinstance(error, OSError)


def test_an_error_that_is_no_builtin_has_no_cause() -> None:
    failed = codec.failure(codec.encode_error(raised(Custom("x"))))
    assert failed.__cause__ is None
    assert (failed.exc_type, failed.exc_message) == ("tests.core.test_codec.Custom", "x")


@pytest.mark.parametrize(
    "error",
    [
        Unprintable(),
        KeyError(BadRepr()),
        ValueError(BadRepr()),
        ValueError("\ud800"),
        ValueError("bad file name: '\udcff'", 3),
        Custom("\udcff"),
        ValueError(object()),
        ValueError(CYCLE),
        ValueError(2**70),
        ValueError({Custom: object()}),
        ValueError({frozenset({(1, 2)}): 1}),
        ExceptionGroup("some", [ValueError("a"), Custom("b")]),
        BaseExceptionGroup("some", [KeyboardInterrupt()]),
        pytest.param(ValueError(*range(100_000)), id="many arguments"),
    ],
)
def test_every_error_can_be_written_and_read(error: BaseException) -> None:
    data = codec.encode_error(raised(error))
    failed = codec.failure(data)
    assert failed.exc_type == codec.type_name(type(error))
    assert "".join(traceback.format_exception(failed))
    assert codec.decode_error(data).exc_type == failed.exc_type


@given(st.sampled_from(KINDS), st.lists(PLAIN | st.just(object()), max_size=5))
def test_any_builtin_error_with_any_arguments_can_be_written_and_read(
    kind: type[BaseException], args: list[Any]
) -> None:
    error = kind.__new__(kind, *args)
    error.args = tuple(args)
    assert codec.failure(codec.encode_error(error)).exc_type == kind.__name__


def test_a_compression_that_does_not_exist_is_named() -> None:
    for name in get_args(Compression):
        codec.require_compression(name)
    with pytest.raises(codec.ConfigurationError, match='choose "gzip" or "zstd"'):
        codec.require_compression("lz4")


def test_a_compression_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    with pytest.raises(codec.ConfigurationError, match=r"aioq-tasks\[zstd\]"):
        codec.require_compression("zstd")
