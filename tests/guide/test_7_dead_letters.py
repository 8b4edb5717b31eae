"""What has failed: look at it, run it again, or throw it away."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from aioq import (
    Aioq,
    ConfigurationError,
    Context,
    DeadLetter,
    JobNotFound,
    JobState,
    Settings,
    TaskFailed,
)
from aioq.testing import running
from tests.eventually import eventually

app = Aioq(settings=Settings(unknown_task_patience=0))
broken: set[str] = set()
"""What fails at the moment."""


@pytest.fixture(autouse=True)
def everything_fails() -> None:
    broken.clear()
    broken.update({"card", "mail"})


@app.task
async def pay(order: int, *, by: str = "card") -> str:
    if by in broken:
        raise ConnectionError(f"{by} refused")
    return f"order {order} paid by {by}"


@app.task(queue="mail", autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0.001)
async def send(to: str) -> str:
    if "mail" in broken:
        raise ConnectionError("no answer")
    return f"sent to {to}"


@app.task(bind=True)
async def ship(self: Context, order: int) -> None:
    self.reject("out of stock")


@app.task(time_limit=0.01)
async def hang() -> None:
    await asyncio.sleep(60)


async def letter_of(job_id: str) -> DeadLetter:
    [letter] = [each for each in await app.dead_letters.list() if each.id == job_id]
    return letter


async def test_a_failed_job_is_a_dead_letter_that_says_all_about_it() -> None:
    async with running(app) as worker:
        before = datetime.now(UTC) - timedelta(seconds=1)
        job = await pay.enqueue(17, by="card")
        await worker.run_until_idle()

        letter = await letter_of(job.id)
        assert (letter.task, letter.queue) == (pay.name, "default")
        assert (letter.args, letter.kwargs) == ((17,), {"by": "card"})
        assert (letter.error.exc_type, letter.error.exc_message) == (
            "ConnectionError",
            "card refused",
        )
        assert "raise ConnectionError" in letter.error.traceback
        assert before < letter.died_at < datetime.now(UTC) + timedelta(seconds=1)
        assert letter.worker == worker.identity.name
        assert (letter.retries, letter.crashes) == (0, 0)


async def test_its_reason_says_what_kind_of_end_it_was() -> None:
    async with running(app) as worker:
        jobs = [
            await pay.enqueue(1),
            await send.enqueue("ann"),
            await ship.enqueue(1),
            await hang.enqueue(),
            await app.send_task(pay.name, args=("one",)),
            await app.send_task("nobody.knows.it"),
        ]
        await asyncio.gather(*(job.result(timeout=20) for job in jobs), return_exceptions=True)
        await worker.run_until_idle()

        assert [(await letter_of(job.id)).reason for job in jobs] == [
            "raised",
            "retries used up",
            "rejected",
            "time limit",
            "invalid arguments",
            "unknown task",
        ]
        assert (await letter_of(jobs[1].id)).retries == 2


async def test_letters_are_listed_the_newest_first() -> None:
    async with running(app) as worker:
        for order in range(3):
            await pay.enqueue(order)
            await worker.run_until_idle()
            await moment_of_its_own()

        assert [each.args async for each in app.dead_letters.list()] == [(2,), (1,), (0,)]
        assert [each.args for each in await app.dead_letters.list()] == [(2,), (1,), (0,)]


async def moment_of_its_own() -> None:
    """Let a millisecond pass, by which letters are sorted."""
    before = datetime.now(UTC)
    await eventually(lambda: datetime.now(UTC) - before > timedelta(milliseconds=2))


async def test_they_can_be_chosen_by_task_queue_and_time() -> None:
    async with running(app) as worker:
        await pay.enqueue(1)
        await send.enqueue("ann")
        await worker.run_until_idle()
        await eventually(both_died)
        await moment_of_its_own()
        since = datetime.now(UTC)
        await moment_of_its_own()
        await pay.enqueue(2)
        await worker.run_until_idle()

        letters = app.dead_letters
        assert [each.args for each in await letters.list(task=pay.name)] == [(2,), (1,)]
        assert [each.args for each in await letters.list(task=pay)] == [(2,), (1,)]
        assert [each.args for each in await letters.list(queue="mail")] == [("ann",)]
        assert [each.args for each in await letters.list(since=since)] == [(2,)]
        assert await letters.list(task=pay, queue="mail") == []


async def both_died() -> bool:
    return len(await app.dead_letters.list()) == 2


async def test_a_replayed_job_is_the_same_job_run_anew() -> None:
    async with running(app) as worker:
        job = await send.options(priority=9).enqueue("ann")
        with pytest.raises(TaskFailed):
            await job.result(timeout=10)
        failed = await job.info()
        assert (failed.state, failed.retries, failed.deliveries) == (JobState.FAILURE, 2, 3)

        broken.clear()
        again = await app.dead_letters.replay(job.id)

        assert again.id == job.id
        assert await job.result(timeout=10) == "sent to ann"
        await worker.run_until_idle()
        info = await job.info()
        assert (info.state, info.retries, info.crashes) == (JobState.SUCCESS, 0, 0)
        assert (info.deliveries, info.queue, info.priority) == (1, "mail", 9)
        assert info.enqueued_at == failed.enqueued_at
        assert await app.dead_letters.list() == []


async def test_between_the_replay_and_its_run_a_job_is_pending() -> None:
    async with running(app, queues=["default"]) as worker:
        job = await pay.options(expires=5).enqueue(1)
        await worker.run_until_idle()
        worker.drain()
        await eventually(lambda: worker.has_left)
        await app.dead_letters.replay(job.id)

        info = await job.info()
        assert (info.state, info.args) == (JobState.PENDING, (1,))
        assert (info.retries, info.crashes, info.deliveries) == (0, 0, 0)
        assert (info.started_at, info.finished_at, info.due_at) == (None, None, None)
        assert (info.worker, info.error, info.progress) == (None, None, None)


async def test_all_or_some_can_be_replayed_at_once() -> None:
    async with running(app) as worker:
        paid = [await pay.enqueue(order) for order in range(3)]
        sent = await send.enqueue("ann")
        await asyncio.gather(*(each.result(timeout=10) for each in [*paid, sent]),
                             return_exceptions=True)  # fmt: skip
        broken.clear()

        assert await app.dead_letters.replay_all(task=pay) == 3
        assert await asyncio.gather(*(each.result(timeout=10) for each in paid)) == [
            f"order {order} paid by card" for order in range(3)
        ]
        assert await sent.failed()
        assert await app.dead_letters.replay_all() == 1
        assert await app.dead_letters.replay_all() == 0
        await worker.run_until_idle()


async def test_more_letters_than_one_call_takes() -> None:
    async with running(app) as worker:
        await pay.enqueue_many([(order,) for order in range(600)])
        await worker.run_until_idle()
        assert len(await app.dead_letters.list()) == 600

        # They fail again at once, and are not replayed again for that.
        assert await app.dead_letters.replay_all() == 600
        await worker.run_until_idle()
        assert {each.args for each in await app.dead_letters.list()} == {
            (order,) for order in range(600)
        }


async def test_a_letter_can_be_thrown_away() -> None:
    async with running(app) as worker:
        job = await pay.enqueue(1)
        await worker.run_until_idle()

        assert await app.dead_letters.discard(job.id)
        assert not await app.dead_letters.discard(job.id)
        assert await app.dead_letters.list() == []
        assert await job.failed()
        with pytest.raises(JobNotFound, match="arguments are gone, as dead letters are kept"):
            await app.dead_letters.replay(job.id)


async def test_what_is_no_letter_is_said_clearly() -> None:
    async with running(app) as worker:
        broken.clear()
        job = await pay.enqueue(1)
        await worker.run_until_idle()

        with pytest.raises(JobNotFound, match=r"'.*' is no dead letter: it is SUCCESS, not FAIL"):
            await app.dead_letters.replay(job.id)
        with pytest.raises(JobNotFound, match="no job 'nobody'"):
            await app.dead_letters.replay("nobody")
        assert not await app.dead_letters.discard(job.id)
        assert not await app.dead_letters.discard("nobody")


def test_a_moment_must_be_one() -> None:
    with pytest.raises(TypeError, match="since=3600 is no datetime"):
        app.dead_letters.list(since=3600)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="has no timezone"):
        app.dead_letters.list(since=datetime(2030, 1, 1))  # noqa: DTZ001 - what the test is about
