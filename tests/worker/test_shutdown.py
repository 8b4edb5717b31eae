"""Leaving: drain, stop, grace; nothing is lost and no retry is consumed."""

import asyncio
import time

import pytest

from aioq import CONTEXT, Aioq, Context, JobState, Settings
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq(settings=Settings(grace=0.05))
hold: asyncio.Event
seen: list[str | None] = []


@pytest.fixture(autouse=True)
async def nobody_is_let_go() -> None:
    global hold
    hold = asyncio.Event()


@app.task
async def held(ctx: Context = CONTEXT) -> str:
    try:
        await hold.wait()
    except asyncio.CancelledError:
        seen.append(ctx.cancel_reason)
        raise
    return "done"


@app.task
async def cancelling_itself() -> None:
    raise asyncio.CancelledError("by myself")


@app.task
async def quick() -> None: ...


@app.task
def blocking() -> None:
    time.sleep(0.3)


async def test_a_draining_worker_lets_its_jobs_end() -> None:
    async with running(app) as worker:
        job = await held.enqueue()
        await eventually(lambda: worker.running == 1)
        worker.drain()
        hold.set()
        await eventually(lambda: worker.has_left)

        assert await job.result(timeout=10) == "done"


async def test_a_draining_worker_says_what_it_waits_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "aioq.worker")
    patient = Aioq(settings=Settings(grace=60))

    @patient.task(name="waits")
    async def waits() -> str:
        await hold.wait()
        return "done"

    async with running(patient) as worker:
        job = await waits.enqueue()
        await eventually(lambda: worker.running == 1)
        worker.drain()
        await eventually(lambda: "Draining: 1 jobs have 60 s to end: 1 of waits." in caplog.text)
        hold.set()
        assert await job.result(timeout=10) == "done"


async def test_a_draining_worker_takes_no_more_jobs() -> None:
    async with running(app) as worker:
        worker.drain()
        await eventually(lambda: worker.has_left)
        job = await held.enqueue()

        assert await job.status() is JobState.PENDING


async def test_jobs_that_outlast_the_grace_are_given_back() -> None:
    seen.clear()
    async with running(app) as worker:
        job = await held.enqueue()
        await eventually(lambda: worker.running == 1)
        worker.drain()
        await eventually(lambda: worker.has_left)
        info = await job.info()

        assert (info.state, info.retries, info.deliveries) == (JobState.PENDING, 0, 1)
        assert seen == ["shutdown"]
        hold.set()
        async with running(app, url=worker.url):
            assert await job.result(timeout=10) == "done"


async def test_stopping_gives_back_at_once() -> None:
    patient = Aioq(settings=Settings(grace=3600))
    there = patient.task(held.function)
    async with running(patient) as worker:
        job = await there.enqueue()
        await eventually(lambda: worker.running == 1)
        worker.drain()
        await asyncio.sleep(0)
        worker.stop()
        await eventually(lambda: worker.has_left)

        assert await job.status() is JobState.PENDING


async def test_a_cancelled_worker_gives_its_jobs_back() -> None:
    async with running(app) as first:
        first.drain()
        await eventually(lambda: first.has_left)
        second = Worker(app)
        runs = asyncio.create_task(second.run())
        job = await held.enqueue()
        await eventually(lambda: second.running == 1)
        runs.cancel()
        await asyncio.wait({runs})

        assert await job.status() is JobState.PENDING


async def test_a_tasks_own_cancelled_error_is_a_failure() -> None:
    async with running(app):
        job = await cancelling_itself.enqueue()
        await eventually(job.failed)

        error = (await job.info()).error
        assert error is not None
        assert "CancelledError" in error.exc_type


async def test_a_thread_that_will_not_end_does_not_hold_the_worker() -> None:
    async with running(app) as worker:
        job = await blocking.enqueue()
        await eventually(lambda: worker.running == 1)
        started = time.monotonic()
        worker.drain()
        await eventually(lambda: worker.has_left)

        assert time.monotonic() - started < 0.25
        assert await job.status() is JobState.PENDING


async def test_a_worker_that_has_left_leaves_no_keys_of_its_own() -> None:
    async with running(app) as worker:
        broker = app.client.broker()
        worker.drain()
        await eventually(lambda: worker.has_left)
        keys = {key.decode().partition(":")[2] for key in await broker.command("KEYS", "*")}

        assert {key for key in keys if not key.startswith("sv:")} == {"ev", "t"}


@pytest.mark.parametrize("at", range(0, 400, 50))
async def test_a_worker_that_drains_amid_a_backlog_leaves_nothing_behind(at: int) -> None:
    """What a fetch has claimed when the drain begins is run or given back, never forgotten."""
    async with running(app, concurrency=50) as worker:
        jobs = await quick.enqueue_many([() for _ in range(2000)])
        for _ in range(at):
            await asyncio.sleep(0)
        worker.drain()
        await eventually(lambda: worker.has_left)
        states = {await job.status() for job in jobs}

        assert states <= {JobState.PENDING, JobState.SUCCESS}
        async with running(app, url=worker.url) as heir:
            await heir.run_until_idle()
            assert {await job.status() for job in jobs} == {JobState.SUCCESS}


async def test_a_drain_amid_a_backlog_takes_no_further_jobs() -> None:
    """However full the queue is: the loop that fetches must see that it is over."""
    async with running(app, concurrency=1000) as worker:
        jobs = await quick.enqueue_many([() for _ in range(20_000)])
        await eventually(jobs[0].ready)
        worker.drain()
        await eventually(lambda: worker.has_left)

        assert await jobs[-1].status() is JobState.PENDING
