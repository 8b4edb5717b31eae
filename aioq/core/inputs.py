"""Where the results of other jobs go: into the arguments of one, or into the value of a group.

The results of a job's dependencies are numbered.  A *shape* says what they make, in their order:
None is the next result; a number n a list of the next n; a text the next result, which is that of
the group with this id and is kept there; a list and a dict hold shapes.  So 100,000 plain jobs
are one number.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias, cast

from aioq.core import codec
from aioq.core.errors import InvalidArguments, Revoked

Shape: TypeAlias = "int | str | list[Shape] | dict[str, Shape] | None"


class Gathered:
    """Stands for the value of a group, whose results are kept at its job."""


GATHERED = Gathered()
GATHERED_VALUE = b"\xd4\x67\x00"
"""What the server writes as the result of a group; no task's result has this type."""


def count(shape: Shape) -> int:
    """Count the results that a shape takes."""
    if isinstance(shape, int):
        return shape
    if isinstance(shape, list):
        return sum(map(count, shape))
    if isinstance(shape, dict):
        return sum(map(count, shape.values()))
    return 1


def groups_in(shape: Shape, items: Iterator[Any]) -> list[str]:
    """Name the groups whose values are wanted to fill a shape; one that failed has an error."""
    if isinstance(shape, int):
        deque(islice(items, shape), maxlen=0)
        return []
    if isinstance(shape, dict):
        shape = list(shape.values())
    if isinstance(shape, list):
        return [name for part in shape for name in groups_in(part, items)]
    return [cast("str", shape)] if next(items) is GATHERED else []


def fill(shape: Shape, items: Iterator[Any], groups: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any
    """Make the value of a shape from results in their order, and from the values of groups."""
    if isinstance(shape, int):
        return list(islice(items, shape))
    if isinstance(shape, list):
        return [fill(part, items, groups) for part in shape]
    if isinstance(shape, dict):
        return {name: fill(part, items, groups) for name, part in shape.items()}
    item = next(items)
    return groups[cast("str", shape)] if item is GATHERED else item


def decode(item: bytes) -> Any:  # noqa: ANN401 - whatever was written
    """Read what became of another job: its result, GATHERED, or the error that it ended with."""
    kind, data = item[:1], item[1:]
    if kind == b"f":
        return codec.failure(data)
    if kind == b"x":
        return Revoked(f"it was revoked: {revoked_because(data)}")
    if data == GATHERED_VALUE:
        return GATHERED
    return codec.decode_value(data) if data else None


def revoked_because(value: bytes) -> str:
    """Say why a job was revoked, from what the server has noted as its value."""
    reason = value.decode(errors="replace")
    return _WHY.get(reason, reason)


_WHY = {
    "expired": "it expired before it started",
    "revoked": "on request",
    "replaced": "a newer call with its unique key replaced it",
}


def calls(payload: codec.Payload) -> Sequence[codec.Payload]:
    """Return the calls of a job that calls its function for each item: items are the last argument.

    What stands before the items comes first in every call, as it would in a group of such calls.

    Raises:
        InvalidArguments: there are no items.
    """
    if not (payload.args and isinstance(payload.args[-1], list)):
        message = "the payload is damaged: it has no items to call the function with"
        raise InvalidArguments(message)
    *before, items = payload.args
    made: list[codec.Payload] = []
    for item in items:
        args = [*before, *item] if payload.mapped == 2 else [*before, item]
        made.append(codec.Payload(args, dict(payload.kwargs), payload.headers))
    return made
