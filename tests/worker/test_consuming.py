"""Bringing work in: order, room, queues, strangers."""

import asyncio

import pytest

from aioq import Aioq, ConfigurationError, JobState, Settings, TaskFailed
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq(settings=Settings(unknown_task_patience=0.01))
order: list[int] = []
hold: asyncio.Event
most = 0
now = 0


@pytest.fixture(autouse=True)
async def nobody_is_let_go() -> None:
    global hold
    hold = asyncio.Event()


@app.task
async def note(n: int) -> None:
    order.append(n)


@app.task
async def crowd() -> None:
    global most, now
    now += 1
    most = max(most, now)
    await asyncio.sleep(0)
    now -= 1


@app.task(queue="mail")
async def mail() -> str:
    return "sent"


@app.task
async def held() -> None:
    await hold.wait()


async def test_jobs_run_by_priority_then_in_order() -> None:
    order.clear()
    async with running(app, concurrency=1) as worker:
        worker.drain()
        await eventually(lambda: worker.has_left)
        for n, priority in enumerate([5, 1, 9, 5, 9]):
            await note.options(priority=priority).enqueue(n)
        async with running(app, url=worker.url, concurrency=1) as again:
            await again.run_until_idle()

    assert order == [2, 4, 0, 3, 1]


@pytest.mark.parametrize("concurrency", [1, 7, 300])
async def test_no_more_jobs_run_than_the_concurrency(concurrency: int) -> None:
    global most
    most = 0
    async with running(app, concurrency=concurrency) as worker:
        await crowd.enqueue_many([() for _ in range(1000)])
        await worker.run_until_idle()

    assert 1 <= most <= concurrency


async def test_a_worker_serves_the_queues_that_its_tasks_name() -> None:
    async with running(app) as worker:
        assert worker.queues == ("default", "mail")
        assert await (await mail.enqueue()).result(timeout=10) == "sent"


async def test_a_worker_serves_only_the_queues_it_is_given() -> None:
    async with running(app, queues=["default"]) as worker:
        job = await mail.enqueue()
        await worker.run_until_idle()

        assert await job.status() is JobState.PENDING


@pytest.mark.parametrize("queues", ["default", [], ["a b"], ["a:b"]])
def test_queues_that_are_no_names_are_refused(queues: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="queue"):
        Worker(app, queues=queues)


def test_a_concurrency_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="concurrency=0"):
        Worker(app, concurrency=0)


async def test_a_full_worker_passes_the_doorbell_on() -> None:
    """A token that wakes a worker without room must wake another one."""
    async with running(app, concurrency=1) as full:
        await eventually(full.started.is_set)
        await held.enqueue()
        await eventually(lambda: full.running == 1)
        async with running(app, url=full.url, concurrency=10):
            jobs = [await note.enqueue(n) for n in range(20)]
            for job in jobs:
                await job.result(timeout=5)
        hold.set()


async def test_an_unknown_task_is_offered_again_and_runs_where_it_is_known() -> None:
    patient = Aioq(settings=Settings(unknown_task_patience=600))
    patient.task(mail.function)
    async with running(patient, queues=["default"]) as worker:
        job = await patient.send_task("somebody.else")

        async def was_given_back() -> bool:
            return (await job.info()).deliveries == 1

        await eventually(was_given_back)
        assert await job.status() is JobState.PENDING
        knowing = Aioq()
        knowing.task(name="somebody.else")(mail.function)
        async with running(knowing, url=worker.url):
            assert await job.result(timeout=10) == "sent"


async def test_an_unknown_task_ends_in_the_dead_letters_with_the_reason() -> None:
    async with running(app):
        job = await app.send_task("nobody.knows")
        with pytest.raises(TaskFailed, match=r"knows the task 'nobody.knows'"):
            await job.result(timeout=20)

        assert (await job.info()).args == ()


async def test_foreign_entries_in_a_stream_are_removed_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(app) as worker:
        broker = app.client.broker()
        stream = f"{broker.keys.prefix}s:default:5"
        await broker.command("XADD", stream, "*", b"\xff\x00", b"garbage")
        await broker.command("XADD", stream, "*", "j", "nobody", "p", b"\x00\xff")
        job = await note.enqueue(1)
        await job.result(timeout=10)
        await worker.run_until_idle()

    assert caplog.text.count("Removed an entry that is no job of ours") == 2


async def test_a_damaged_payload_fails_its_job_alone() -> None:
    async with running(app) as worker:
        broker = app.client.broker()
        job = await note.options(countdown=3600).enqueue(1)
        body = f"{broker.keys.prefix}y:{job.id}"
        await broker.command("SET", body, b"\x00garbage")
        await broker.command("ZADD", f"{broker.keys.prefix}d", 1, job.id)
        other = await note.options(countdown=0.01).enqueue(2)
        await other.result(timeout=10)
        with pytest.raises(TaskFailed, match="payload is damaged"):
            await job.result(timeout=10)
        await worker.run_until_idle()


async def test_a_payload_of_a_newer_release_is_offered_to_newer_workers() -> None:
    async with running(app):
        broker = app.client.broker()
        job = await note.options(countdown=3600).enqueue(1)
        await broker.command("SET", f"{broker.keys.prefix}y:{job.id}", b"\x63\x00\x91\x91\x01")
        await broker.command("ZADD", f"{broker.keys.prefix}d", 1, job.id)
        await note.options(countdown=0.01).enqueue(2)
        with pytest.raises(TaskFailed, match="format 99, this worker reads formats up to 2"):
            await job.result(timeout=20)
        assert (await job.info()).deliveries > 1


async def test_burst_leaves_when_nothing_is_ready() -> None:
    order.clear()
    async with running(app) as worker:
        worker.drain()
        await eventually(lambda: worker.has_left)
        await note.enqueue_many([(n,) for n in range(500)])
        later = await note.options(countdown=3600).enqueue(1)
        await asyncio.wait_for(Worker(app, burst=True).run(), 20)

        assert sorted(order) == list(range(500))
        assert await later.status() is JobState.PENDING


async def test_a_queue_that_nobody_serves_is_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(app):
        for _ in range(3):
            await note.options(queue="nobody").enqueue(1)
        await note.enqueue(1)

    assert caplog.text.count("No live worker serves the queue") == 1
    assert "'nobody'" in caplog.text


async def test_a_job_that_is_not_due_stays_where_it_is_however_often_is_fetched() -> None:
    order.clear()
    async with running(app) as worker:
        job = await note.options(countdown=60).enqueue(1)
        for n in (2, 3):
            await note.enqueue(n)
            await worker.run_until_idle()

        assert order == [2, 3]
        assert await job.status() is JobState.PENDING
