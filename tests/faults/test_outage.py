"""The server goes away and comes back; the worker, its jobs and who waits for them live on."""

import asyncio

import pytest

from aioq import Aioq, BrokerUnavailable, JobState, Settings
from aioq.embedded import PrivateServer
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq(settings=Settings(enqueue_timeout=30))
hold: asyncio.Event


@pytest.fixture(autouse=True)
async def nobody_is_let_go() -> None:
    global hold
    hold = asyncio.Event()


@app.task
async def add(x: int, y: int) -> int:
    return x + y


@app.task
async def held() -> str:
    await hold.wait()
    return "done"


async def test_a_job_that_ends_during_an_outage_is_settled_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url) as worker:
            job = await held.enqueue()
            waiter = asyncio.create_task(job.result())
            await eventually(lambda: worker.running == 1)
            server.kill()
            hold.set()
            await eventually(lambda: worker.running == 0)
            await asyncio.to_thread(server.restart)

            assert await asyncio.wait_for(waiter, 20) == "done"
            assert await (await add.enqueue(1, 2)).result(timeout=20) == 3

    assert caplog.text.count("The server is away") == 1
    assert caplog.text.count("The server is back") == 1


async def test_an_enqueue_during_an_outage_gets_through_when_the_server_is_back() -> None:
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url):
            server.kill()
            sending = asyncio.create_task(add.enqueue(20, 22))
            await asyncio.to_thread(server.restart)
            job = await asyncio.wait_for(sending, 20)

            assert await job.result(timeout=20) == 42


async def test_a_worker_that_starts_before_its_server_waits_for_it() -> None:
    patient = Aioq(settings=Settings(startup_timeout=20))
    there = patient.task(add.function)
    with PrivateServer() as server:
        server.kill()
        with patient.connected_to(server.url):
            runs = asyncio.create_task(Worker(patient, burst=True).run())
            await asyncio.to_thread(server.restart)
            await asyncio.wait_for(runs, 20)
            job = await there.enqueue(1, 2)
            assert await job.status() is JobState.PENDING
            await patient.aclose()


async def test_a_worker_gives_up_after_its_startup_timeout() -> None:
    impatient = Aioq("redis://localhost:1/0", settings=Settings(startup_timeout=0.1))
    impatient.task(add.function)
    with pytest.raises(BrokerUnavailable, match="cannot reach redis://localhost:1"):
        await Worker(impatient).run()


async def test_a_lost_notification_does_not_strand_a_waiter() -> None:
    async with running(app) as worker:
        job = await held.enqueue()
        waiter = asyncio.create_task(job.result())
        await eventually(lambda: worker.running == 1)
        broker = app.client.broker()
        await broker.command("CLIENT", "KILL", "TYPE", "pubsub")
        hold.set()

        assert await asyncio.wait_for(waiter, 20) == "done"


async def test_a_flushed_server_needs_no_new_worker() -> None:
    async with running(app):
        assert await (await add.enqueue(1, 1)).result(timeout=10) == 2
        await app.client.broker().command("FLUSHDB")
        await app.client.broker().command("SCRIPT", "FLUSH")

        assert await (await add.enqueue(1, 2)).result(timeout=30) == 3


async def test_a_frozen_server_is_an_outage_like_any_other() -> None:
    with PrivateServer() as server:
        async with running(app, url=server.url):
            server.pause()
            sending = asyncio.create_task(add.enqueue(1, 2))
            await asyncio.sleep(0)
            server.resume()

            assert await (await sending).result(timeout=20) == 3
