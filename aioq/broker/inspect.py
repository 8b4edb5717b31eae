"""The read side: what the server knows, as values."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from aioq.broker.broker import Broker
from aioq.broker.keys import COMMON_LANE, Keys, split_lane
from aioq.broker.scripts import End, Looked
from aioq.core import codec
from aioq.core.clock import from_ms
from aioq.core.errors import JobNotFound, ResultExpired, Revoked
from aioq.core.inputs import revoked_because
from aioq.core.record import JobError, JobInfo, JobState, Progress, Stored, public_state


class Presence(msgspec.Struct, kw_only=True):
    """What a worker says of itself, with every beat."""

    worker: str
    host: str
    pid: int
    version: str
    app: str
    queues: tuple[str, ...]
    concurrency: int
    running: int
    done: int
    """Jobs settled since it started."""
    started_at_ms: int


def state_of(job_id: str, looked: Looked) -> JobState:
    """Return the public state of a job.

    Raises:
        JobNotFound: nobody knows it.
    """
    record = looked.record
    if "s" not in record:
        raise JobNotFound(not_found(job_id))
    mark = record.get("m", b"").decode()
    return public_state(record["s"].decode(), mark=mark, retries=int(record.get("e", 0)))


def info_of(job_id: str, looked: Looked) -> JobInfo:
    """Return all that is known of a job.

    Raises:
        JobNotFound: nobody knows it.
    """
    state = state_of(job_id, looked)
    record = looked.record
    queue, priority = split_lane(record["q"].decode() if "q" in record else COMMON_LANE)
    payload = readable(looked.payload)

    def count(field: str) -> int:
        return int(record.get(field, 0))

    enqueued_ms = count("n") or int(record["i"].partition(b"-")[0])

    started_ms = enqueued_ms + count("b")

    return JobInfo(
        id=job_id,
        task=record["t"].decode(),
        queue=queue,
        priority=priority,
        state=state,
        args=None if payload is None else tuple(payload.args),
        kwargs=None if payload is None else payload.kwargs,
        retries=count("e"),
        crashes=count("k"),
        deliveries=count("a") + ("b" in record),
        enqueued_at=from_ms(enqueued_ms),
        due_at=from_ms(count("d")) if "d" in record else None,
        started_at=from_ms(started_ms) if "b" in record else None,
        finished_at=from_ms(started_ms + count("f")) if "f" in record else None,
        worker=record["o"].decode() if "o" in record else None,
        progress=_progress(record.get("p")),
        error=_error(state, looked),
    )


def readable(payload: bytes | None) -> codec.Payload | None:
    """Decode a payload for show; a damaged one is shown as gone."""
    if payload is None:
        return None
    try:
        return codec.decode_payload(payload)
    except (codec.NewerPayload, codec.InvalidArguments):
        return None


def _progress(data: bytes | None) -> Progress | None:
    return None if data is None else Progress(*codec.decode_value(data))


def _error(state: JobState, looked: Looked) -> JobError | None:
    """The error of a failure, or the last one of a job that is tried again."""
    failed = state is JobState.FAILURE
    retried = not state.is_final and "e" in looked.record
    return codec.decode_error(looked.value) if (failed or retried) and looked.value else None


def value_of(job_id: str, end: End, *, known: bool, convert: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - R
    """Turn the end of a job into its value, or raise.

    Args:
        job_id: for messages.
        end: state and value, as the server gave them.
        known: whether this process enqueued the job, so that it must have existed.
        convert: plain MessagePack to the task's return type.

    Raises:
        TaskFailed, Revoked, ResultExpired, JobNotFound: see each class.
    """
    if end.state == "":
        if known:
            message = f"job {job_id} has ended, and its record has expired"
            raise ResultExpired(message)
        raise JobNotFound(not_found(job_id))
    if end.value is None:
        message = f"job {job_id} has ended, and its result has expired; raise result_expires"
        raise ResultExpired(message)
    if end.state == Stored.FAILED:
        raise codec.failure(end.value)
    if end.state == Stored.REVOKED:
        message = f"job {job_id} was revoked: {revoked_because(end.value)}"
        raise Revoked(message)
    return None if end.value == b"" else convert(codec.decode_value(end.value))


def not_found(job_id: str) -> str:
    """Say that nobody knows a job."""
    return f"no job {job_id!r}: it was never enqueued here, or its record has expired"


async def workers(broker: Broker) -> list[Presence]:
    """Return the workers whose lease runs, by the server's clock."""
    seconds, microseconds = await broker.command("TIME")
    now_ms = int(seconds) * 1000 + int(microseconds) // 1000
    leased: list[bytes] = await broker.command(
        "ZRANGE", broker.keys.leases, now_ms, "+inf", "BYSCORE"
    )
    keys = Keys.presence
    found = await asyncio.gather(
        *(broker.command("GET", keys(broker.keys, name.decode())) for name in leased)
    )
    decode = msgspec.msgpack.Decoder(Presence).decode
    return [decode(presence) for presence in found if presence is not None]
