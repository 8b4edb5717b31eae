"""Leases: kept by a thread, lost to a reaper, and never missed because the server was silent."""

import asyncio
import threading
import time

import pytest

from aioq import CONTEXT, Aioq, Context, JobState, Settings
from aioq.broker import sync
from aioq.broker.broker import reap
from aioq.broker.topology import parse
from aioq.embedded import PrivateServer
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq(settings=Settings(lease=1, grace=0.1))
hold: asyncio.Event
starts: list[int] = []
seen: list[str | None] = []


@pytest.fixture(autouse=True)
async def nobody_is_let_go() -> None:
    global hold
    hold = asyncio.Event()
    starts.clear()
    seen.clear()


@app.task
async def held(ctx: Context = CONTEXT) -> str:
    starts.append(ctx.request.deliveries)
    try:
        await hold.wait()
    except asyncio.CancelledError:
        seen.append(ctx.cancel_reason)
        raise
    return "done"


@app.task
async def blocking(seconds: float) -> str:
    starts.append(1)
    time.sleep(seconds)  # noqa: ASYNC251 - the point of it: the loop stands still
    return "done"


async def lose(worker: Worker) -> None:
    """Let the worker be reaped, as if somebody had taken it for dead."""
    broker = app.client.broker()
    await broker.run(reap(broker.keys.prefix, worker.identity.name, lease_ms=1000))


async def test_a_reaped_worker_goes_on_under_a_new_name_and_drops_what_it_ran() -> None:
    async with running(app) as worker:
        job = await held.enqueue()
        await eventually(lambda: starts == [1])
        old = worker.identity.name
        await lose(worker)
        await eventually(lambda: starts == [1, 2])

        assert worker.identity.name != old
        assert seen == ["lease lost"]
        hold.set()
        assert await job.result(timeout=10) == "done"
        info = await job.info()
        assert (info.crashes, info.retries, info.deliveries) == (1, 0, 2)
        assert info.worker == worker.identity.name


async def test_outcomes_of_the_old_incarnation_are_dropped() -> None:
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url) as worker:
            job = await held.enqueue()
            await eventually(lambda: starts == [1])
            await lose(worker)
            hold.set()  # it ends at the moment its lease is lost, whichever comes first
            assert await job.result(timeout=10) == "done"
            assert (await job.info()).deliveries == 2
            await eventually(lambda: worker.running == 0)


async def test_a_beat_notices_a_lost_lease_even_if_nothing_is_fetched() -> None:
    async with running(app, concurrency=1) as worker:
        await held.enqueue()
        await eventually(lambda: starts == [1])
        old = worker.identity.name
        await lose(worker)

        await eventually(lambda: worker.identity.name != old)


def watch(worker: Worker, over: threading.Event) -> None:
    """Reap whoever is overdue, as other workers do."""
    connection = sync.dial(parse(worker.url, prefix=""))
    while not over.wait(0.1):
        sync.run_on(connection, reap(app.client.keys.prefix, lease_ms=1000))
    connection.disconnect()


async def test_a_loop_that_is_blocked_for_less_than_two_leases_keeps_its_jobs() -> None:
    async with running(app) as worker:
        over = threading.Event()
        watching = threading.Thread(target=watch, args=(worker, over))
        watching.start()
        try:
            job = await blocking.enqueue(1.7)
            assert await job.result(timeout=10) == "done"
        finally:
            over.set()
            await asyncio.to_thread(watching.join)
        info = await job.info()
        assert (info.crashes, info.deliveries, starts) == (0, 1, [1])
        assert info.worker == worker.identity.name


async def test_silence_of_the_server_for_longer_than_a_lease_cancels_nothing() -> None:
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url) as worker:
            job = await held.enqueue()
            await eventually(lambda: starts == [1])
            name = worker.identity.name
            server.kill()
            await asyncio.sleep(1.5)  # the lease is over; that is what is tested
            await asyncio.to_thread(server.restart)
            hold.set()

            assert await job.result(timeout=20) == "done"
            assert (starts, seen, worker.identity.name) == ([1], [], name)


async def test_the_jobs_of_a_dead_worker_are_taken_over_by_a_live_one() -> None:
    async with running(app) as worker:
        broker = app.client.broker()
        job = await held.options(queue="elsewhere").enqueue()
        prefix = broker.keys.prefix
        # A worker of another process that dies with the job in its hands.
        await broker.command("ZADD", broker.keys.leases, "9000000000000", "dead-1-abcd")
        await broker.fetch("dead-1-abcd", room=1, keep_ms=0, lanes=["elsewhere:5"])
        assert await job.status() is JobState.STARTED
        await broker.command("ZADD", broker.keys.leases, "1", "dead-1-abcd")

        async def waits_again() -> bool:
            return await job.status() is JobState.PENDING

        await eventually(waits_again)
        info = await job.info()
        assert (info.crashes, info.worker) == (1, None)
        assert await broker.command("EXISTS", f"{prefix}w:dead-1-abcd") == 0
        assert worker.started.is_set()
