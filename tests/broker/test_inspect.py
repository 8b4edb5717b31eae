"""The read side: what the server knows of a job, as the values of the API."""

from typing import Any

import msgspec
import pytest

from aioq.broker import inspect, scripts
from aioq.broker.scripts import End
from aioq.core import codec
from aioq.core.clock import from_ms
from aioq.core.errors import JobNotFound, ResultExpired, Revoked, TaskFailed
from aioq.core.record import JobInfo, JobState, Progress
from tests.broker.calls import beat, deliver, enqueue, outcome, register, settle
from tests.broker.clock import Clock
from tests.broker.place import START, Place, broker_on, new_job

pytestmark = pytest.mark.broker

PAYLOAD = codec.encode_payload((1,), {"y": [2]}, None, task="add")
BOOM = codec.encode_error(ValueError("boom"))


def info(place: Place, job_id: str = "a") -> JobInfo:
    return inspect.info_of(job_id, place.run(scripts.look(place.prefix, job_id=job_id)))


def test_a_job_is_described_from_its_enqueue_to_its_end(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", lane="mail:7", payload=PAYLOAD, due="+1000"))
    at_first = JobInfo(
        id="a",
        task="add",
        queue="mail",
        priority=7,
        state=JobState.PENDING,
        args=(1,),
        kwargs={"y": [2]},
        retries=0,
        crashes=0,
        deliveries=0,
        enqueued_at=from_ms(START),
        due_at=from_ms(START + 1000),
        started_at=None,
        finished_at=None,
        worker=None,
        progress=None,
        error=None,
    )
    assert info(place) == at_first
    clock.advance(1500)
    [delivery] = deliver(place, new_job("other", lane="mail:7"))[1:]
    running = info(place)
    assert (running.state, running.worker, running.deliveries) == (JobState.STARTED, "w1", 1)
    assert running.started_at == from_ms(START + 1500)
    assert delivery.job_id == b"a"
    clock.advance(70)
    settle(place, outcome(delivery, "c", 3_600_000, codec.encode_value(3)))
    done = info(place)
    assert (done.state, done.args, done.worker) == (JobState.SUCCESS, None, "w1")
    assert (done.started_at, done.finished_at) == (from_ms(START + 1500), from_ms(START + 1570))


def test_the_first_job_is_described_by_its_entry(place: Place, clock: Clock) -> None:
    enqueue(place, new_job("a", payload=PAYLOAD))
    assert (info(place).queue, info(place).priority) == ("default", 5)
    assert info(place).enqueued_at == from_ms(START)


def test_a_retry_shows_its_last_error(place: Place, clock: Clock) -> None:
    [delivery] = deliver(place, new_job("a", payload=PAYLOAD))
    settle(place, outcome(delivery, "r", "+10", BOOM))
    waiting = info(place)
    assert (waiting.state, waiting.retries, waiting.deliveries) == (JobState.RETRY, 1, 1)
    assert waiting.error is not None
    assert (waiting.error.exc_type, waiting.error.exc_message) == ("ValueError", "boom")
    clock.advance(10)
    [delivery] = deliver(place)
    assert info(place).error == waiting.error
    settle(place, outcome(delivery, "f", "", BOOM))
    assert (info(place).state, info(place).args) == (JobState.FAILURE, (1,))
    assert info(place).error == waiting.error


@pytest.mark.parametrize(
    ("mark", "state"),
    [("v", JobState.RECEIVED), ("s", JobState.STARTED), ("p", JobState.PROGRESS)],
)
def test_a_running_job_shows_what_it_is_doing(
    place: Place, clock: Clock, mark: str, state: JobState
) -> None:
    [delivery] = deliver(place, new_job("a", payload=PAYLOAD))
    progress = codec.encode_value((1, 2, "half", {"x": 3}))
    noted = scripts.Update(delivery.job_id, delivery.entry_id, mark, progress)
    place.run(scripts.update(place.prefix, count=1, updates=[noted]))
    assert info(place).state is state
    assert info(place).progress == (Progress(1, 2, "half", {"x": 3}) if mark == "p" else None)


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x09\x00\x90", b"\x01\x00\xc1"])
def test_a_payload_that_cannot_be_read_is_shown_as_gone(
    place: Place, clock: Clock, payload: bytes
) -> None:
    enqueue(place, new_job("a", payload=payload or b"\x00"))
    assert (info(place).args, info(place).kwargs) == (None, None)


def test_a_job_that_nobody_knows_is_said_to_be_unknown(place: Place, clock: Clock) -> None:
    with pytest.raises(JobNotFound, match="no job 'a': it was never enqueued here"):
        info(place)


def value(end: End, *, known: bool = True) -> Any:  # noqa: ANN401 - any result
    return inspect.value_of("a", end, known=known, convert=lambda value: ("converted", value))


def test_an_end_is_a_value_or_what_came_instead() -> None:
    assert value(End("c", codec.encode_value([1]))) == ("converted", [1])
    assert value(End("c", b"")) is None
    with pytest.raises(TaskFailed, match="ValueError: boom") as caught:
        value(End("f", BOOM))
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(Revoked, match="it expired before it started"):
        value(End("x", b"expired"))
    with pytest.raises(ResultExpired, match="its result has expired"):
        value(End("c", None))
    with pytest.raises(ResultExpired, match="its record has expired"):
        value(End("", b""))
    with pytest.raises(JobNotFound, match="no job 'a'"):
        value(End("", b""), known=False)


async def test_only_workers_whose_lease_runs_are_listed(place: Place) -> None:
    presence = inspect.Presence(
        worker="w1",
        host="h",
        pid=1,
        version="0",
        app="m:app",
        queues=("default",),
        concurrency=9,
        running=1,
        done=2,
        started_at_ms=START,
    )
    for worker in ("w1", "w2"):
        said = msgspec.msgpack.encode(msgspec.structs.replace(presence, worker=worker))
        register(place, worker)
        beat(place, worker, presence=said)
    place.lease("w2", until=1)
    async with broker_on(place) as broker:
        assert await inspect.workers(broker) == [presence]
