"""Read what jobs have gathered from those that they waited for, in slices of bounded size."""

from collections.abc import Sequence
from typing import Any, cast

from aioq.broker import plans
from aioq.broker.steps import Steps
from aioq.core import codec
from aioq.core.errors import ResultExpired
from aioq.core.frames import unframe
from aioq.core.inputs import Shape, count, decode, fill, groups_in

SLICE = 500
"""Results that one call reads."""


def value_of(prefix: str, job_id: str) -> Steps[Any]:
    """Read the value of a group.

    Raises:
        ResultExpired: it was kept for `result_expires` seconds only.
    """
    first = yield plans.gather(prefix, job_id=job_id, first=0, count=SLICE)
    if first.shape is None:
        raise ResultExpired(_expired(job_id))
    shape = codec.decode_value(first.shape)
    needed = count(shape)
    items = yield from _items(prefix, job_id, needed, first.items)
    return (yield from _filled(prefix, [shape], items))[0]


def payload_of(prefix: str, job_id: str, framed: bytes) -> Steps[codec.Payload]:
    """Read the payload of a job that waited for others, with their results before its arguments.

    Raises:
        ResultExpired: the results of a group among them have expired.
        InvalidArguments: these bytes are no payload.
        NewerPayload: another release wrote them.
    """
    inner, items = unframe(framed)
    payload = codec.decode_payload(inner)
    if payload.inputs is True:  # it runs because of an error, which takes its place there
        payload.inputs = decode(items[0]) if items else None
    inputs: object = payload.inputs
    if not isinstance(inputs, list):
        return payload
    shapes = cast("list[Shape]", inputs)
    if items is None:
        items = yield from _items(prefix, job_id, count(shapes), [])
    payload.args[:0] = yield from _filled(prefix, shapes, items)
    payload.inputs = None
    return payload


def _items(
    prefix: str, job_id: str, needed: int, items: Sequence[bytes | None]
) -> Steps[list[bytes]]:
    found = list(items)
    while len(found) < needed:
        some = min(SLICE, needed - len(found))
        part = yield plans.gather(prefix, job_id=job_id, first=len(found), count=some)
        found += part.items
    complete = [item for item in found[:needed] if item is not None]
    if len(complete) < needed:
        raise ResultExpired(_expired(job_id))
    return complete


def _filled(prefix: str, shapes: list[Shape], items: list[bytes]) -> Steps[list[Any]]:
    results = [decode(item) for item in items]
    groups: dict[str, Any] = {}
    for group in groups_in(shapes, iter(results)):
        groups[group] = yield from value_of(prefix, group)
    return cast("list[Any]", fill(shapes, iter(results), groups))


def _expired(job_id: str) -> str:
    return (
        f"the results that job {job_id} has gathered have expired; raise Settings.result_expires, "
        "or ask earlier"
    )
