"""What a job handle can tell."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from aioq import Aioq, JobNotFound, JobState, ResultExpired, Revoked, TaskFailed
from aioq.testing import running
from tests.eventually import eventually

app = Aioq()


@dataclass
class Invoice:
    number: int
    due: datetime


@app.task
async def invoice(number: int) -> Invoice:
    return Invoice(number, datetime(2030, 1, 1, tzinfo=UTC))


@app.task
async def divide(x: int, y: int) -> float:
    return x / y


@app.task(ignore_result=True)
async def forget() -> int:
    return 1


@app.task(result_expires=0.001)
async def brief() -> int:
    return 1


@app.task
async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_result_has_the_type_that_the_task_returns() -> None:
    async with running(app):
        job = await invoice.enqueue(7)

        assert await job.result(timeout=10) == Invoice(7, datetime(2030, 1, 1, tzinfo=UTC))


async def test_a_failed_job_raises_task_failed_with_the_original_as_its_cause() -> None:
    async with running(app):
        job = await divide.enqueue(1, 0)
        with pytest.raises(TaskFailed, match="division by zero") as caught:
            await job.result(timeout=10)

        assert caught.value.exc_type == "ZeroDivisionError"
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert "return x / y" in caught.value.traceback
        assert await job.failed()
        error = (await job.info()).error
        assert error is not None
        assert error.exc_message == "division by zero"


async def test_the_traceback_of_a_failure_begins_in_the_users_code() -> None:
    async with running(app):
        job = await divide.enqueue(1, 0)
        with pytest.raises(TaskFailed) as caught:
            await job.result(timeout=10)

        assert "executor.py" not in caught.value.traceback


async def test_a_handle_is_made_from_an_id() -> None:
    async with running(app):
        made = await invoice.enqueue(7)

        assert await invoice.job(made.id).result(timeout=10) == await made.result()
        untyped = await app.job(made.id).result()
        assert untyped == {"number": 7, "due": datetime(2030, 1, 1, tzinfo=UTC)}


async def test_an_unknown_id_is_an_error_and_not_pending() -> None:
    async with running(app):
        for question in (app.job("x").status, app.job("x").info, app.job("x").result):
            with pytest.raises(JobNotFound, match="'x'"):
                await question()


async def test_waiting_longer_than_the_timeout_raises_timeout_error() -> None:
    async with running(app):
        job = await wait_for_ever.enqueue()
        with pytest.raises(TimeoutError, match=r"had not ended after 0.05 s"):
            await job.result(timeout=0.05)

        assert await job.status() is JobState.STARTED


async def test_an_ignored_result_is_none() -> None:
    async with running(app):
        job = await forget.enqueue()

        assert await job.result(timeout=10) is None


async def test_a_result_that_was_kept_for_too_short_has_expired() -> None:
    async with running(app) as worker:
        job = await brief.enqueue()
        await worker.run_until_idle()

        async def has_expired() -> bool:
            try:
                await job.result()
            except ResultExpired:
                return True
            return False

        await eventually(has_expired)
        assert await job.successful()


async def test_a_job_that_expires_before_it_starts_ends_as_revoked() -> None:
    async with running(app) as worker:
        worker.drain()
        await eventually(lambda: worker.has_left)
        job = await divide.options(expires=0.001).enqueue(1, 1)
        late = await divide.options(expires=1, countdown=3600).enqueue(1, 1)
        async with running(app, url=worker.url):
            with pytest.raises(Revoked, match="expired"):
                await job.result(timeout=10)
            with pytest.raises(Revoked, match="expired"):
                await late.result(timeout=10)

        assert await job.status() is JobState.REVOKED


async def test_info_tells_the_life_of_a_job() -> None:
    async with running(app) as worker:
        job = await divide.options(priority=3).enqueue(6, y=3)
        await job.result(timeout=10)
        info = await job.info()

        assert (info.id, info.task, info.queue, info.priority) == (
            job.id,
            divide.name,
            "default",
            3,
        )
        assert (info.state, info.retries, info.crashes, info.deliveries) == ("SUCCESS", 0, 0, 1)
        assert info.started_at is not None
        assert info.finished_at is not None
        assert info.enqueued_at <= info.started_at <= info.finished_at
        assert info.worker == worker.identity.name
        assert info.error is None
        assert info.progress is None


async def test_many_waiters_get_their_results() -> None:
    async with running(app):
        jobs = await divide.enqueue_many([(n, 1) for n in range(1000)])

        assert await asyncio.gather(*(job.result(timeout=20) for job in jobs)) == list(range(1000))
