"""Jobs for later: due by the server's clock, woken by a timer, and no later than they must be."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from aioq import Aioq, JobState, Revoked
from aioq.testing import running
from tests.broker.clock import Clock
from tests.broker.place import Place
from tests.eventually import eventually

app = Aioq(name="test")
ran: list[str] = []
door: asyncio.Event


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    global door
    door = asyncio.Event()
    ran.clear()


@app.task
async def note(name: str) -> str:
    ran.append(name)
    return name


@app.task
async def block() -> None:
    await door.wait()


async def test_an_idle_worker_is_armed_anew_by_a_nearer_due_time() -> None:
    """It looks by itself after 15 s at the latest: what is earlier has come by the doorbell."""
    async with running(app):
        far = await note.options(countdown=3600).enqueue("far")
        nearer = await note.options(countdown=60).enqueue("nearer")
        soon = await note.options(countdown=0.05).enqueue("soon")
        assert await soon.result(timeout=10) == "soon"
        assert {await far.status(), await nearer.status()} == {JobState.PENDING}


async def test_an_idle_worker_is_armed_for_its_queue_however_early_another_one_is_due() -> None:
    """The worker of that one may be full when it is due, and then it looks at nothing."""
    async with (
        running(app, queues=["slow"], concurrency=1) as full,
        running(app, url=full.url, queues=["quick"]),
    ):
        slow = note.options(queue="slow", countdown=0.2)
        quick = note.options(queue="quick", countdown=0.4)
        first = await slow.enqueue("slow")
        await block.options(queue="slow").enqueue()
        await eventually(lambda: full.running == 1)
        second = await quick.enqueue("quick")
        assert await second.result(timeout=10) == "quick"
        assert await first.status() is JobState.PENDING
        door.set()
        assert await first.result(timeout=10) == "slow"


async def test_due_jobs_keep_their_queue_and_their_priority() -> None:
    """Which was due first counts only within a lane."""
    async with running(app, queues=["default", "mail"], concurrency=1) as worker:
        await block.options(priority=9).enqueue()
        await eventually(lambda: worker.running == 1)
        jobs = [
            await note.options(countdown=0.01 + n / 1000, priority=priority, queue=queue).enqueue(
                f"{queue}:{priority}"
            )
            for n, (queue, priority) in enumerate(
                [("mail", 2), ("default", 2), ("mail", 5), ("default", 5), ("mail", 8)]
            )
        ]
        infos = [await job.info() for job in jobs]
        late = max(info.due_at for info in infos if info.due_at)
        await eventually(lambda: datetime.now(UTC) > late + timedelta(milliseconds=50))
        door.set()
        for job in jobs:
            await job.result(timeout=10)

    assert ran == ["mail:8", "default:5", "mail:5", "default:2", "mail:2"]
    assert [(info.queue, info.priority) for info in infos] == [
        ("mail", 2),
        ("default", 2),
        ("mail", 5),
        ("default", 5),
        ("mail", 8),
    ]


async def test_a_countdown_is_counted_by_the_server_whatever_clock_its_callers_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Producer and worker are in this process, and an hour late."""
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - 3600 * 10**9)
    async with running(app):
        before = datetime.now(UTC)  # not that clock
        job = await note.options(countdown=0.2, expires=1800).enqueue("a")
        assert await job.result(timeout=10) == "a"
        info = await job.info()
        assert info.due_at is not None
        assert info.started_at is not None
        assert info.due_at - info.enqueued_at == timedelta(seconds=0.2)
        assert info.started_at >= info.due_at
        assert info.enqueued_at >= before - timedelta(milliseconds=1)


@pytest.mark.parametrize("countdown", [0.0001, 0.0101, 0.0999])
async def test_a_fraction_of_a_millisecond_makes_a_job_later_and_never_earlier(
    countdown: float,
) -> None:
    async with running(app):
        job = await note.options(countdown=countdown).enqueue("a")
        await job.result(timeout=10)
        info = await job.info()
        assert info.due_at is not None
        assert info.started_at is not None
        waits = info.due_at - info.enqueued_at
        assert timedelta(seconds=countdown) <= waits < timedelta(seconds=countdown + 0.001)
        assert info.started_at >= info.due_at


@pytest.mark.parametrize("ms", [-3_600_000, 3_600_000])
async def test_a_clock_that_jumps_makes_no_job_early_and_none_late(
    place: Place, clock: Clock, ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a server after a failover: a timer that was set before means nothing then."""
    for module in ("broker.doorbell", "worker.consumer"):  # 15 s, which is long for a test
        monkeypatch.setattr(f"aioq.{module}.PATIENCE", 1)
    scratch = f"{place.prefix}!:clock"  # that of the worker's self-test
    place.admin("SET", scratch, clock.now_ms)
    async with running(app, url=place.url):
        place.admin("DEL", scratch)
        hour = await note.options(countdown=3600).enqueue("hour")
        soon = await note.options(countdown=0.2).enqueue("soon")
        clock.advance(ms)
        if ms > 0:
            assert await hour.result(timeout=10) == "hour"
            assert await soon.result(timeout=10) == "soon"
        else:
            await asyncio.sleep(0.5)  # the timer of "soon" has rung, an hour too early
            assert {await soon.status(), await hour.status()} == {JobState.PENDING}
            clock.advance(-ms + 200)
            assert await soon.result(timeout=10) == "soon"
            assert await hour.status() is JobState.PENDING


@pytest.mark.parametrize(
    "options",
    [{"expires": 0.05}, {"expires": 0.05, "countdown": 60}, {"expires": 0.05, "countdown": 0.06}],
    ids=["queued", "delayed", "delayed until just then"],
)
async def test_a_job_that_expires_ends_as_revoked_with_that_reason_and_never_runs(
    options: dict[str, float],
) -> None:
    async with running(app, concurrency=1) as worker:
        await block.enqueue()
        await eventually(lambda: worker.running == 1)
        job = await note.options(**options).enqueue("never")  # pyright: ignore[reportArgumentType]
        info = await job.info()
        after = info.enqueued_at + timedelta(seconds=0.1)
        await eventually(lambda: datetime.now(UTC) > after)
        door.set()
        with pytest.raises(Revoked, match="it expired before it started"):
            await job.result(timeout=10)
        info = await job.info()
        assert (info.state, info.started_at, info.deliveries) == (JobState.REVOKED, None, 0)
    assert ran == []


async def test_an_idle_worker_ends_a_job_as_it_expires_however_late_it_is_due() -> None:
    """An eta behind the expiry is legal: nobody has to wait until then for its end."""
    async with running(app):
        eta = datetime.now(UTC) + timedelta(hours=1)
        job = await note.options(eta=eta, expires=0.05).enqueue("never")
        with pytest.raises(Revoked, match="it expired before it started"):
            await job.result(timeout=10)
        due_at = (await job.info()).due_at
        assert due_at is not None
        assert timedelta(0) <= due_at - eta < timedelta(milliseconds=1)
    assert ran == []


async def test_a_job_that_has_started_does_not_expire() -> None:
    async with running(app) as worker:
        job = await block.options(expires=0.05).enqueue()
        await eventually(lambda: worker.running == 1)
        info = await job.info()
        after = info.enqueued_at + timedelta(seconds=0.1)
        await eventually(lambda: datetime.now(UTC) > after)
        door.set()
        assert await job.result(timeout=10) is None


async def test_whoever_becomes_idle_takes_over_the_timer_of_one_that_is_gone() -> None:
    async with running(app, concurrency=1) as busy:
        await block.enqueue()
        await eventually(lambda: busy.running == 1)
        async with running(app, url=busy.url):
            job = await note.options(countdown=1).enqueue("a")
        door.set()
        assert await job.result(timeout=10) == "a"
