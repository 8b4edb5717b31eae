"""The wire format: what the bytes of a payload, a result and an error mean.

A payload is two bytes, version and compression, then MessagePack `[args, kwargs, headers]`
with empty tails left out.  A job of a workflow may have two more fields, and then another version,
so that a plain job is told by its first byte; and the server puts a frame around what waited for
other jobs.  A result is bare MessagePack.  No pickle, ever.
"""

import builtins
import gzip
import traceback
import zlib
from importlib import import_module
from pathlib import PurePath
from types import TracebackType
from typing import Any, Literal

import msgspec

from aioq.core.errors import (
    AioqError,
    ConfigurationError,
    InvalidArguments,
    Revoked,
    TaskFailed,
)
from aioq.core.frames import FRAMES, unframe
from aioq.core.record import JobError

Compression = Literal["gzip", "zstd"]

VERSION = 1
EXTENDED = 2
"""The version of a payload that says where results go, or how often the function is called."""
_PLAIN, _GZIP, _ZSTD = 0, 1, 2
_MAX_TRACEBACK = 16_384
_MAX_MESSAGE = 8_192


class NewerPayload(AioqError):
    """The payload was written by a newer release than this one can read."""


class Payload(msgspec.Struct, array_like=True, omit_defaults=True):
    """What travels with a job: the arguments as the caller gave them, headers, and what follows.

    `inputs` are the shapes of the values that come before the arguments, made of other jobs'
    results (see `core.inputs`); True: the one result is an error, and no argument.  `mapped`: the
    function is called for each item of the first argument, 1 with the item, 2 with what is in it.
    """

    args: list[Any] = msgspec.field(default_factory=list[Any])
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    headers: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    inputs: Any = None
    mapped: int = 0


_FAILED, _REVOKED = ord("f"), ord("x")  # extension types of ours


def _to_builtin(value: object) -> object:
    """Serialise what msgspec cannot: paths as text, and what pydantic knows by pydantic.

    The errors of a group that collects them are values too.
    """
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, TaskFailed):
        wire = _WireError(value.exc_type, value.exc_message, value.traceback)
        return msgspec.msgpack.Ext(_FAILED, _encoder.encode(wire))
    if isinstance(value, Revoked):
        return msgspec.msgpack.Ext(_REVOKED, str(value).encode())
    refusal = f"{type(value).__module__}.{type(value).__qualname__} cannot be serialised"
    try:
        core = import_module("pydantic_core")
    except ImportError:
        raise TypeError(refusal) from None
    try:
        return core.to_jsonable_python(value)
    except core.PydanticSerializationError:
        raise TypeError(refusal) from None


def _extension(code: int, data: memoryview) -> object:
    if code == _FAILED:
        return failure(bytes(data))
    if code == _REVOKED:
        return Revoked(str(data, "utf-8"))
    return msgspec.msgpack.Ext(code, bytes(data))


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_builtin)
_sorted_encoder = msgspec.msgpack.Encoder(enc_hook=_to_builtin, order="sorted")
_decode_payload = msgspec.msgpack.Decoder(Payload, ext_hook=_extension).decode
_decode_plain = msgspec.msgpack.Decoder(ext_hook=_extension).decode
_PLAIN_HEADER = bytes((VERSION, _PLAIN))
EXTENDED_HEADER = bytes((EXTENDED, _PLAIN))
USUAL = bytes((VERSION,))
"""The first byte of the payload of a plain job."""

# Everything the encoder raises for a value it cannot write: an unknown type, an integer over
# 64 bits, a lone surrogate, a structure that contains itself.
_REFUSALS = (TypeError, OverflowError, ValueError, RecursionError)


def encode_payload(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    headers: dict[str, Any] | None,
    *,
    task: str,
    compression: Compression | None = None,
    threshold: int = 1024,
) -> bytes:
    """Write the bytes of a job's payload.

    Raises:
        InvalidArguments: naming the task, the argument and the value's type.
    """
    body: list[Any] = [args]
    if kwargs or headers:
        body.append(kwargs)
    if headers:
        body.append(headers)
    try:
        encoded = _encoder.encode(body)
    except _REFUSALS as error:
        raise InvalidArguments(_refusal(task, args, kwargs, error)) from error
    if compression is None or len(encoded) < threshold:
        return _PLAIN_HEADER + encoded
    return _compress(encoded, compression)


def extended(payload: bytes, *, inputs: Any, mapped: int) -> bytes:  # noqa: ANN401 - shapes
    """Add to a payload what a job of a workflow needs beside its arguments."""
    body = _decompress(payload)
    missing = b"\x80" * (3 - (body[0] & 0x0F))  # kwargs and headers, where they were left out
    tail = _encoder.encode(inputs) + _encoder.encode(mapped)
    whole = b"".join((b"\x95", body[1:], missing, tail))
    if payload[1] == _PLAIN:
        return EXTENDED_HEADER + whole
    return bytes((EXTENDED,)) + _compress(whole, "gzip" if payload[1] == _GZIP else "zstd")[1:]


def decode_payload(payload: bytes) -> Payload:
    """Read the bytes of a payload, without what a frame around it holds.

    Raises:
        NewerPayload: another release wrote it; a newer worker may read it.
        InvalidArguments: these bytes are no payload.
    """
    if len(payload) < 2 or payload[0] == 0:
        raise InvalidArguments(_damaged(payload))
    if payload[0] > EXTENDED:
        payload = _out_of_frame(payload)
    try:
        return _decode_payload(_decompress(payload))
    except (
        msgspec.MsgspecError,
        OSError,
        EOFError,
        ValueError,
        RecursionError,
        zlib.error,
    ) as error:
        message = f"the payload is damaged: {error}"
        raise InvalidArguments(message) from error


def _out_of_frame(payload: bytes) -> bytes:
    inner, _ = unframe(payload)
    if len(inner) < 2 or inner[0] == 0 or (inner is not payload and inner[:1] in FRAMES):
        raise InvalidArguments(_damaged(inner))
    if inner[0] > EXTENDED:
        message = (
            f"the payload has format {inner[0]}, this worker reads formats up to {EXTENDED}; "
            "update the worker"
        )
        raise NewerPayload(message)
    return inner


def _damaged(payload: bytes) -> str:
    return f"the payload is damaged: it starts with {payload[:8]!r}"


def encode_sorted(arguments: dict[str, Any], *, task: str) -> bytes:
    """Write arguments so that equal ones are equal bytes, whatever the order inside them.

    Raises:
        InvalidArguments: naming the task, the argument and the value's type.
    """
    try:
        return _sorted_encoder.encode(arguments)
    except _REFUSALS as error:
        raise InvalidArguments(_refusal(task, (), arguments, error)) from error


def encode_value(value: object) -> bytes:
    """Write a result, or any other single value.

    Raises:
        TypeError, OverflowError, ValueError, RecursionError: the value cannot be written.
    """
    return _encoder.encode(value)


def decode_value(data: bytes) -> Any:  # noqa: ANN401 - whatever was written
    """Read what `encode_value` wrote, as plain MessagePack values."""
    return _decode_plain(data)


def require_compression(name: str) -> None:
    """Check that a compression exists here.

    Raises:
        ConfigurationError: it is unknown, or needs a package that is not installed.
    """
    if name not in {"gzip", "zstd"}:
        message = f'compression={name!r} is unknown; choose "gzip" or "zstd"'
        raise ConfigurationError(message)
    if name == "zstd":
        _zstd()


def _zstd() -> Any:  # noqa: ANN401 - one of two modules with the same functions
    for module in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(module)
        except ImportError:
            continue
    message = 'compression="zstd" needs a package on Python < 3.14: pip install "aioq-tasks[zstd]"'
    raise ConfigurationError(message)


def _compress(encoded: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return bytes((VERSION, _GZIP)) + gzip.compress(encoded, mtime=0)
    return bytes((VERSION, _ZSTD)) + _zstd().compress(encoded)


def _decompress(payload: bytes) -> bytes | memoryview:
    body = memoryview(payload)[2:]
    if payload[1] == _PLAIN:
        return body
    if payload[1] == _GZIP:
        return gzip.decompress(body)
    if payload[1] == _ZSTD:
        return _unpack_zstd(body)
    message = f"unknown compression {payload[1]}"
    raise ValueError(message)


def _unpack_zstd(body: memoryview) -> bytes:
    try:
        module = _zstd()
    except ConfigurationError as error:  # no fault of the job: another worker may have it
        raise NewerPayload(str(error)) from None
    try:
        return module.decompress(body)
    except module.ZstdError as error:
        raise ValueError(str(error)) from None


def _refusal(task: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: BaseException) -> str:
    """Name the argument that could not be written."""
    named = [(f"argument {index + 1}", value) for index, value in enumerate(args)]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for name, value in named:
        try:
            _encoder.encode(value)
        except _REFUSALS as refusal:
            kind = type(value).__qualname__
            return (
                f"{name} of {task}, of type {kind}, cannot be serialised: {refusal}; pass values "
                "that msgspec or pydantic can serialise (numbers, text, bytes, dates, UUIDs, "
                "containers, dataclasses, Structs, models)"
            )
    return f"the arguments of {task} cannot be serialised: {error}"


class _WireError(msgspec.Struct, array_like=True, omit_defaults=True):
    exc_type: str
    exc_message: str
    traceback: str = ""
    args: list[Any] | None = None
    reason: str = ""
    """Why it was the end, where the error does not say it."""


_decode_error = msgspec.msgpack.Decoder(_WireError).decode


def encode_error(error: BaseException, *, with_traceback: bool = True) -> bytes:
    """Write an exception: its type, message and traceback, and a builtin's arguments."""
    args: list[Any] | None = None
    if type(error).__module__ == "builtins":
        try:
            encoded = _encoder.encode(list(error.args))
            args = decode_value(encoded) if len(encoded) <= _MAX_MESSAGE else [_message(error)]
        except _REFUSALS:
            args = [_message(error)]
    text = _traceback(error) if with_traceback else ""
    wire = _WireError(type_name(type(error)), _message(error), text, args)
    return _encoder.encode(wire)


def decode_error(data: bytes) -> JobError:
    """Read an error as the value that `JobInfo` shows."""
    wire = _decode_error(data)
    return JobError(wire.exc_type, wire.exc_message, wire.traceback)


def with_reason(data: bytes, reason: str) -> bytes:
    """Note in an error that is written already why it was the end of its job."""
    if not reason:
        return data
    return _encoder.encode(msgspec.structs.replace(_decode_error(data), reason=reason))


def reason_of(data: bytes) -> str:
    """Return why an error was the end of its job, in a few words."""
    wire = _decode_error(data)
    return wire.reason or _REASONS.get(wire.exc_type, "raised")


_REASONS = {
    "aioq.core.retry.Reject": "rejected",
    "aioq.core.errors.InvalidArguments": "invalid arguments",
    "aioq.core.errors.TimeLimitExceeded": "time limit",
    "aioq.core.errors.SoftTimeLimitExceeded": "time limit",
    "aioq.core.errors.WorkerLost": "worker lost",
    "aioq.core.errors.DependencyFailed": "dependency failed",
    "aioq.core.codec.NewerPayload": "newer payload",
    "aioq.worker.judge.UnknownTask": "unknown task",
    "aioq.broker.fsck.PayloadLost": "payload lost",
}
"""What a job came to, by the error that stands for it."""


def failure(data: bytes) -> TaskFailed:
    """Read an error as the exception to raise, with the builtin original as its cause."""
    wire = _decode_error(data)
    failed = TaskFailed(wire.exc_type, wire.exc_message, wire.traceback)
    failed.__cause__ = _rebuild(wire)
    return failed


def type_name(kind: type[BaseException]) -> str:
    """Return `module.qualname`; builtins bare."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def users_traceback(error: BaseException) -> TracebackType | None:
    """Return the traceback from the user's first frame on: ours say nothing about the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("aioq."):
        trace = trace.tb_next
    return trace


def _rebuild(wire: _WireError) -> BaseException | None:
    kind = getattr(builtins, wire.exc_type, None)
    if wire.args is None or not (isinstance(kind, type) and issubclass(kind, BaseException)):
        return None
    try:
        return kind(*wire.args)
    except TypeError:  # such as UnicodeDecodeError, whose arguments did not survive as they were
        return None


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"<str() of the exception raised {type_name(type(broken))}>"
    return _shortened(text, _MAX_MESSAGE)


def _traceback(error: BaseException) -> str:
    """Format the traceback, its middle cut when it is very long."""
    lines = traceback.format_exception(type(error), error, users_traceback(error))
    return _shortened("".join(lines), _MAX_TRACEBACK)


def _shortened(text: str, most: int) -> str:
    """Cut the middle out of a long text, and make what is left valid UTF-8."""
    if len(text) > most:
        half = most // 2
        left_out = f"\n  ... {len(text) - 2 * half} characters left out ...\n"
        text = text[:half] + left_out + text[-half:]
    return text.encode("utf-8", "replace").decode()
