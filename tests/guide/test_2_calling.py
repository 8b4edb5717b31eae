"""The ways to call a task."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from aioq import Aioq, ConfigurationError, JobState, Settings, task
from aioq.testing import running

app = Aioq(include=[__name__])


@app.task
async def add(x: int, y: int = 1) -> int:
    return x + y


@task
async def double(x: int) -> int:
    return 2 * x


async def test_options_belong_to_the_calls_made_through_them() -> None:
    async with running(app, queues=["default", "slow"]):
        job = await add.options(queue="slow", priority=9).enqueue(1)
        info = await job.info()

        assert (info.queue, info.priority) == ("slow", 9)
        assert add.options(queue="slow") is not add


async def test_many_jobs_are_made_in_one_call() -> None:
    async with running(app):
        jobs = await add.enqueue_many([(1, 2), (3, 4), {"x": 5}])

        assert [await job.result(timeout=10) for job in jobs] == [3, 7, 6]


async def test_signatures_of_different_tasks_go_together() -> None:
    async with running(app):
        jobs = await app.enqueue_many([add.s(1, 2), double.s(4), add.s(x=5, y=5).set(priority=1)])

        assert [await job.result(timeout=10) for job in jobs] == [3, 8, 10]


async def test_a_task_is_called_by_name_where_its_code_is_not() -> None:
    client = Aioq()
    async with running(app) as worker:
        with client.connected_to(worker.url):
            job = await client.send_task(add.name, args=(4,), kwargs={"y": 6})

            assert await job.result(timeout=10) == 10
            await client.aclose()


async def test_celerys_spellings_work() -> None:
    async with running(app):
        first = await add.delay(4, 6)
        second = await add.apply_async(args=(4, 6), priority=7)
        third = await add.apply_async((1,), {"y": 2}, countdown=0.01)

        assert [await job.get(timeout=10) for job in (first, second, third)] == [10, 10, 3]


async def test_a_job_with_an_id_is_made_once() -> None:
    async with running(app):
        first = await add.options(job_id="order-7").enqueue(1)
        second = await add.options(job_id="order-7").enqueue(100)

        assert (first.created, second.created) == (True, False)
        assert await second.result(timeout=10) == 2


async def test_a_job_waits_for_its_countdown() -> None:
    async with running(app) as worker:
        job = await add.options(countdown=60).enqueue(1)
        await worker.run_until_idle()
        info = await job.info()

        assert info.state is JobState.PENDING
        assert info.due_at is not None
        assert info.due_at - info.enqueued_at == timedelta(seconds=60)


async def test_an_eta_is_an_aware_moment() -> None:
    async with running(app):
        soon = datetime.now(UTC) + timedelta(milliseconds=50)
        job = await add.options(eta=soon).enqueue(1)
        assert await job.result(timeout=10) == 2

        started_at = (await job.info()).started_at
        assert started_at is not None
        assert started_at >= soon - timedelta(milliseconds=1)


async def test_a_naive_eta_needs_a_timezone() -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - what the test is about
    with pytest.raises(ConfigurationError, match="timezone"):
        _ = add.options(eta=naive).enqueue(1)

    paris = Aioq(settings=Settings(timezone="Europe/Paris"))
    there = paris.task(add.function)
    async with running(paris):
        info = await (await there.options(eta=naive).enqueue(1)).info()
        assert info.due_at == datetime(2029, 12, 31, 23, tzinfo=UTC)


async def test_a_shared_task_belongs_to_the_app_that_includes_its_module() -> None:
    async with running(app):
        assert await (await double.enqueue(4)).result(timeout=10) == 8


def test_sync_code_enqueues_and_waits_with_its_own_calls() -> None:
    async def serve(stop: asyncio.Event, ready: asyncio.Future[None]) -> None:
        async with running(app):
            ready.set_result(None)
            await stop.wait()

    async def main() -> int:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve(stop, ready))
        await ready
        value = await asyncio.to_thread(lambda: add.enqueue_sync(20, 22).result_sync(timeout=10))
        stop.set()
        await server
        return value

    assert asyncio.run(main()) == 42


async def test_sync_calls_refuse_to_block_a_running_loop() -> None:
    with pytest.raises(ConfigurationError, match=r"await add.enqueue\(...\)"):
        add.enqueue_sync(1)
