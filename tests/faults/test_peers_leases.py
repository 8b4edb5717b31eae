"""Leases: long enough for any job, kept while draining, good for all that a worker holds."""

import asyncio
import time

import pytest

from aioq import CONTEXT, Aioq, Context, JobState, Settings
from aioq.broker import scripts
from aioq.broker.broker import Broker
from aioq.testing import running
from tests.eventually import eventually

SETTINGS = Settings(lease=1, grace=20, threads=1)
LONG = 2.5
"""Seconds: longer than a lease, and than its renewal would forgive."""
starts: list[str] = []
hold: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_has_started() -> None:
    global hold
    hold = asyncio.Event()
    starts.clear()


def make_app() -> Aioq:
    """Make an app of its own for each worker: the same tasks, and connections of its own."""
    app = Aioq(settings=SETTINGS)

    @app.task(name="long")
    async def long(name: str) -> str:
        starts.append(name)
        await asyncio.sleep(LONG)
        return name

    @app.task(name="held")
    async def held(name: str) -> str:
        starts.append(name)
        await hold.wait()
        return name

    @app.task(name="threaded")
    def threaded(name: str, ctx: Context = CONTEXT) -> int:
        starts.append(name)
        time.sleep(0.5)
        return ctx.request.deliveries

    return app


async def register(broker: Broker, worker: str) -> None:
    """Let a worker begin that will never beat."""
    prefix = broker.keys.prefix
    await broker.run(scripts.register(prefix, worker=worker, lease_ms=2000, limits=[]))


async def test_a_job_that_runs_for_longer_than_the_lease_runs_once() -> None:
    """Where a message is free again after a time, every job must be shorter than that time."""
    app = make_app()
    async with running(app) as worker, running(make_app(), url=worker.url):
        job = await app.send_task("long", args=("a",))

        assert await job.result(timeout=20) == "a"
        info = await job.info()
    assert (starts, info.deliveries, info.crashes) == (["a"], 1, 0)


async def test_a_draining_worker_keeps_its_lease_to_the_end() -> None:
    """One that stops everything but the last jobs stops renewing too, and they start elsewhere."""
    app, other = make_app(), make_app()
    hold.set()
    async with running(app) as draining:
        job = await app.send_task("long", args=("a",))
        await eventually(lambda: starts == ["a"])
        draining.drain()
        async with running(other, url=draining.url):
            later = await other.send_task("held", args=("b",))
            assert await later.result(timeout=20) == "b"
            assert await other.job(job.id).result(timeout=20) == "a"
            assert (await other.job(job.id).info()).deliveries == 1
    assert starts == ["a", "b"]


async def test_jobs_that_wait_inside_a_worker_for_longer_than_the_lease_are_not_orphans() -> None:
    """A worker that prefetches must answer for what it holds, not only for what it runs."""
    app = make_app()
    async with running(app) as worker, running(make_app(), url=worker.url):
        jobs = [await app.send_task("threaded", args=(f"{n}",)) for n in range(8)]

        assert [await job.result(timeout=20) for job in jobs] == [1] * 8
    assert sorted(starts) == [f"{n}" for n in range(8)]


async def test_a_worker_with_the_pid_and_host_of_a_dead_one_takes_over_its_jobs() -> None:
    """Restarted in its container, a worker called by pid and host would stand for its orphans."""
    app = make_app()
    async with running(app) as worker:
        broker = app.client.broker()
        job = await app.send_task("held", args=("a",), queue="elsewhere")
        twin = worker.identity.another()
        assert twin.rpartition("-")[0] == worker.identity.name.rpartition("-")[0]
        await register(broker, twin)
        await broker.fetch(twin, room=1, keep_ms=0, lanes=["elsewhere:5"])
        assert (await job.info()).worker == twin
        hold.set()
        async with running(make_app(), url=worker.url, queues=["elsewhere"]):
            assert await job.result(timeout=20) == "a"


async def test_all_that_a_dead_worker_held_is_taken_over_however_much_it_was() -> None:
    """A sweep that looks at the first few entries again and again never gets to the others."""
    app = make_app()
    hold.set()
    async with running(app) as worker:
        broker = app.client.broker()
        task = app.tasks["held"].options(queue="elsewhere")
        jobs = await task.enqueue_many([(f"{n}",) for n in range(1100)])
        await register(broker, "dead-1-abcd")
        held = 0
        while held < 1100:
            fetched = await broker.fetch("dead-1-abcd", room=250, keep_ms=0, lanes=["elsewhere:5"])
            held += len(fetched.deliveries)
        async with running(make_app(), url=worker.url, queues=["elsewhere"], concurrency=200):
            for job in jobs:
                await job.result(timeout=30)
            assert {(await job.info()).deliveries for job in jobs} == {2}
    assert len(starts) == 1100


async def test_a_job_behind_a_busy_worker_is_pending_and_runs_elsewhere() -> None:
    """A worker that takes more than it runs keeps jobs from others, and says that they run."""
    app = make_app()
    async with running(app, concurrency=1) as busy:
        first = await app.send_task("held", args=("first",))
        await eventually(lambda: busy.running == 1)
        waiting = [await app.send_task("held", args=(f"{n}",)) for n in range(3)]
        states = [(await job.status(), (await job.info()).state) for job in waiting]
        assert states == [(JobState.PENDING, JobState.PENDING)] * 3
        assert await first.status() is JobState.STARTED
        async with running(make_app(), url=busy.url):
            await eventually(lambda: len(starts) == 4)
            hold.set()
            for job in (first, *waiting):
                await job.result(timeout=20)
