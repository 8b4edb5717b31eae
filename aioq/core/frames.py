"""What the server puts around the payload of a job that waited for others: their results.

Few and small results travel in the frame; else it only says that they are to be read.
"""

import struct

import msgspec

from aioq.core.errors import InvalidArguments

_HOLDING, _LACKING = b"I", b"J"
FRAMES = frozenset((_HOLDING, _LACKING))
"""The first bytes of payloads in a frame; one without starts with its version, a small number."""
_LENGTH = struct.Struct(">I")
_decode_items = msgspec.msgpack.Decoder(list[bytes]).decode


def unframe(payload: bytes) -> tuple[bytes, list[bytes] | None]:
    """Take a payload out of its frame, if it is in one.

    Returns:
        The payload, and the results of other jobs that came with it; None: they are elsewhere.

    Raises:
        InvalidArguments: the frame is damaged.
    """
    frame = payload[:1]
    if frame == _LACKING:
        return payload[1:], None
    if frame != _HOLDING:
        return payload, []
    try:
        (length,) = _LENGTH.unpack_from(payload, 1)
        start = 1 + _LENGTH.size
        return payload[start : start + length], _decode_items(payload[start + length :])
    except (struct.error, msgspec.MsgspecError) as error:
        message = f"the payload is damaged: {error}"
        raise InvalidArguments(message) from error


def frame(payload: bytes, items: list[bytes]) -> bytes:
    """Put results of other jobs around a payload, as the server does."""
    return _HOLDING + _LENGTH.pack(len(payload)) + payload + msgspec.msgpack.encode(items)
