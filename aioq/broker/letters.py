"""Dead letters: stubs of their scripts, and a letter as a value."""

from collections.abc import Sequence
from typing import NamedTuple

from aioq.broker import scripts
from aioq.broker.inspect import readable
from aioq.broker.keys import split_lane
from aioq.broker.resp import Reply, rows
from aioq.broker.scripts import Call, parse_flags
from aioq.core import codec
from aioq.core.clock import from_ms
from aioq.core.record import DeadLetter, JobError


class Letter(NamedTuple):
    """One dead letter; raw, because most readers want only some of it."""

    job_id: bytes
    died: bytes
    """Milliseconds since the epoch."""
    task: bytes
    lane: bytes
    retries: bytes | None
    crashes: bytes | None
    worker: bytes | None
    payload: bytes | None
    error: bytes | None


class Letters(NamedTuple):
    """One page of dead letters."""

    after: str
    """For the next call; "": there is no more."""
    letters: list[Letter]


def letters(
    prefix: str, *, after: str, since: int | str, task: str, queue: str, full: bool, most: int
) -> Call[Letters]:
    """Read a page of dead letters."""
    arguments = (prefix, after, since, task, queue, int(full), most)
    return Call(scripts.load("letters"), arguments, _parse_letters)


def _parse_letters(reply: Reply) -> Letters:
    after, flat = reply
    return Letters(after.decode(), rows(Letter, flat))


def replay(prefix: str, *, nonce: str, job_ids: Sequence[str]) -> Call[str]:
    """Queue dead letters again; one letter each, see `replay.lua`."""
    return Call(scripts.load("replay"), (prefix, nonce, *job_ids), bytes.decode)


def discard(prefix: str, *, nonce: str, job_ids: Sequence[str]) -> Call[list[bool]]:
    """Throw dead letters away; False: it was none."""
    return Call(scripts.load("discard"), (prefix, nonce, *job_ids), parse_flags)


def value_of(letter: Letter) -> DeadLetter:
    """Return what is known of a dead letter."""
    payload = readable(letter.payload)
    error, reason = _LOST_ERROR, "unknown"
    if letter.error:
        error, reason = codec.decode_error(letter.error), codec.reason_of(letter.error)
    return DeadLetter(
        id=letter.job_id.decode(),
        task=letter.task.decode(),
        queue=split_lane(letter.lane.decode())[0],
        args=None if payload is None else tuple(payload.args),
        kwargs=None if payload is None else payload.kwargs,
        error=error,
        reason=reason,
        died_at=from_ms(int(letter.died)),
        worker=None if letter.worker is None else letter.worker.decode(),
        retries=int(letter.retries or 0),
        crashes=int(letter.crashes or 0),
    )


_LOST_ERROR = JobError("unknown", "its error is gone from the server", "")
