"""Queues and priorities: what goes first, and what goes at all."""

import asyncio

import pytest

from aioq import Aioq, ConfigurationError, JobState, QueueInfo, Settings
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq(
    settings=Settings(
        task_routes={"*.report": "slow", "*.charge": {"queue": "money", "priority": 8}},
        task_annotations={"*.thumbnail": {"queue": "images", "priority": 2}},
    )
)
ran: list[str] = []
door: asyncio.Event


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    global door
    door = asyncio.Event()
    ran.clear()


@app.task
async def greet(name: str) -> str:
    ran.append(name)
    return f"hello {name}"


@app.task
async def report() -> str:
    return "done"


@app.task
async def charge() -> str:
    return "paid"


@app.task
async def thumbnail() -> str:
    return "drawn"


@app.task(queue="mail")
async def send(to: str) -> str:
    ran.append(to)
    return f"sent to {to}"


@app.task
async def block() -> None:
    await door.wait()


async def test_a_task_goes_to_its_own_queue_else_to_that_of_its_route_else_to_the_default() -> None:
    async with running(app):
        assert [
            ((info := await (await task.enqueue()).info()).queue, info.priority)
            for task in (report, charge, thumbnail)
        ] == [("slow", 5), ("money", 8), ("images", 2)]
        assert (await (await send.enqueue("ann")).info()).queue == "mail"
        assert (await (await greet.enqueue("ann")).info()).queue == "default"
        once = await send.options(queue="default", priority=9).enqueue("bob")
        assert ((await once.info()).queue, (await once.info()).priority) == ("default", 9)


async def test_a_worker_that_is_told_nothing_serves_all_queues_that_the_app_names() -> None:
    async with running(app) as worker:
        assert worker.queues == ("default", "images", "mail", "money", "slow")
        jobs = [await task.enqueue() for task in (report, charge, thumbnail)]
        assert [await job.result(timeout=10) for job in jobs] == ["done", "paid", "drawn"]


async def test_higher_priorities_go_first_and_one_fetch_in_eight_is_for_the_lowest() -> None:
    async with running(app, concurrency=1) as worker:
        await block.options(priority=9).enqueue()
        await eventually(lambda: worker.running == 1)
        await greet.options(priority=1).enqueue_many([("low",)] * 2)
        await greet.options(priority=7).enqueue_many([("high",)] * 15)
        door.set()
        await worker.run_until_idle()

    assert ran == [*["high"] * 7, "low", *["high"] * 7, "low", "high"]


async def test_queues_go_in_their_order_or_by_weight() -> None:
    async with running(app, concurrency=1, queues={"default": 3, "mail": 1}) as worker:
        await block.enqueue()
        await eventually(lambda: worker.running == 1)
        await greet.enqueue_many([("greeting",)] * 9)
        await send.enqueue_many([("letter",)] * 3)
        door.set()
        await worker.run_until_idle()

    for start in (0, 4, 8):
        assert sorted(ran[start : start + 4]) == ["greeting", "greeting", "greeting", "letter"]


def test_weights_are_whole_numbers() -> None:
    with pytest.raises(ConfigurationError, match="0 is no weight for queue 'mail'"):
        Worker(app, queues={"default": 1, "mail": 0})


async def test_a_paused_queue_hands_nothing_out_until_it_is_resumed() -> None:
    async with running(app) as worker:
        assert await app.queues.pause("mail")
        letter, greeting = await send.enqueue("ann"), await greet.enqueue("bob")
        assert await greeting.result(timeout=10) == "hello bob"
        await worker.run_until_idle()  # what is paused does not count
        assert await letter.status() is JobState.PENDING

        assert await app.queues.resume("mail")
        assert await letter.result(timeout=10) == "sent to ann"


async def test_what_runs_already_ends_in_spite_of_the_pause() -> None:
    async with running(app) as worker:
        job = await block.enqueue()
        await eventually(lambda: worker.running == 1)
        await app.queues.pause("default")
        door.set()
        await job.result(timeout=10)


async def test_a_pause_holds_for_all_workers_and_outlives_them() -> None:
    async with running(app) as first:
        await app.queues.pause("mail")
        async with running(app, url=first.url) as second:
            job = await send.enqueue("ann")
            await second.run_until_idle()
            await first.run_until_idle()
            assert await job.status() is JobState.PENDING
        async with running(app, url=first.url) as third:
            await third.run_until_idle()
            assert await job.status() is JobState.PENDING
        await app.queues.resume("mail")
        assert await job.result(timeout=10) == "sent to ann"


async def test_pausing_what_is_paused_changes_nothing() -> None:
    async with running(app):
        assert await app.queues.pause("not.there.yet")
        assert not await app.queues.pause("not.there.yet")
        assert await app.queues.resume("not.there.yet")
        assert not await app.queues.resume("not.there.yet")
        with pytest.raises(ConfigurationError, match="queue 'a b' is no name"):
            await app.queues.pause("a b")


async def test_queues_can_be_looked_at() -> None:
    async with running(app, queues=["default", "mail"]) as worker:
        await app.queues.pause("mail")
        await app.queues.pause("later")
        await block.enqueue()
        await send.enqueue_many([("ann",), ("bob",)])
        await eventually(lambda: worker.running == 1)
        found = {each.name: each async for each in app.queues.list()}

        assert list(found) == ["default", "later", "mail"]
        assert found["default"] == QueueInfo(
            name="default",
            depth=0,
            held=0,
            running=1,
            oldest_age=None,
            paused=False,
            workers=1,
        )
        mail = found["mail"]
        assert (mail.depth, mail.running, mail.paused, mail.workers) == (2, 0, True, 1)
        assert mail.oldest_age is not None
        assert 0 <= mail.oldest_age < 60
        assert (found["later"].depth, found["later"].workers) == (0, 0)
        await eventually(lambda: grows(mail))
        door.set()


async def grows(before: QueueInfo) -> bool:
    [now] = [each for each in await app.queues.list() if each.name == before.name]
    return (now.oldest_age or 0) > (before.oldest_age or 0)
