"""What the server says of new jobs: made, there already, or refused for a job with the same key."""

from collections.abc import Sequence
from typing import NamedTuple


class Existing(NamedTuple):
    """The job that is there in place of a new one: it has the same unique key."""

    job_id: str
    is_refusal: bool
    """The call asked not to be answered with it."""


class Enqueued(NamedTuple):
    """What became of a batch of new jobs."""

    created: list[bool]
    unserved: list[str]
    """Queues that no live worker serves."""
    existing: list[Existing | None] | None = None
    """One each; None: there is none."""


EachEnqueued = tuple[bool, list[str], Existing | None]
"""The same, of one job."""


def parse_enqueued(reply: bytes) -> Enqueued:
    """Read what `enqueue.lua` says of a batch."""
    created, *words = reply.split()
    there = [word.decode() for word in words if word[:1] == b":"]  # no queue has a colon
    unserved = [word.decode() for word in words if word[:1] != b":"]
    return Enqueued(parse_flags(created), unserved, _existing(created, there) if there else None)


_MADE: Sequence[EachEnqueued] = ((True, [], None),)


def parse_each_enqueued(reply: bytes) -> Sequence[EachEnqueued]:
    """Read what `enqueue.lua` says of a batch, for each of its jobs."""
    if reply == b"1":  # what nearly every single enqueue hears
        return _MADE
    created, unserved, existing = parse_enqueued(reply)
    if existing is None:
        return [(flag, unserved, None) for flag in created]
    return [(flag, unserved, other) for flag, other in zip(created, existing, strict=True)]


def parse_flags(reply: bytes) -> list[bool]:
    """Read a text of 0 and 1."""
    return [flag == ord("1") for flag in reply]


def _existing(created: bytes, words: Sequence[str]) -> list[Existing | None]:
    found: list[Existing | None] = [None] * len(created)
    for word in words:
        _, index, job_id = word.split(":", 2)
        found[int(index)] = Existing(job_id, created[int(index)] == ord("r"))
    return found
