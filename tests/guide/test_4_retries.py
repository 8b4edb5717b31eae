"""Trying again."""

import pytest

from aioq import Aioq, Context, JobState, Retry, TaskFailed
from aioq.testing import running
from tests.eventually import eventually

app = Aioq()
calls: list[int] = []


@pytest.fixture(autouse=True)
def no_calls_yet() -> None:
    calls.clear()


@app.task(bind=True, max_retries=2)
async def by_hand(self: Context, succeed_after: int) -> int:
    if self.request.retries < succeed_after:
        self.retry(exc=ConnectionError("no answer"), countdown=0.001)
    return self.request.retries


@app.task(autoretry_for=(ConnectionError,), dont_autoretry_for=(BrokenPipeError,), max_retries=3,
          default_retry_delay=0.001)  # fmt: skip
async def by_itself(kind: str) -> None:
    calls.append(1)
    raise {"reset": ConnectionResetError, "pipe": BrokenPipeError, "value": ValueError}[kind]


@app.task(retry_kwargs={"max_retries": 1}, autoretry_for=(Exception,), default_retry_delay=0.001)
def in_a_thread() -> None:
    calls.append(1)
    raise OSError("disk")


@app.task(max_retries=1)
async def raising() -> None:
    raise Retry(countdown=0.001) from ValueError("the reason")


@app.task(bind=True)
async def snoozing(self: Context) -> int:
    if self.request.deliveries < 3:
        self.snooze(0.001)
    return self.request.retries


@app.task(bind=True)
async def rejecting(self: Context) -> None:
    self.reject("not for us")


@app.task(bind=True)
async def later(self: Context) -> None:
    self.retry(exc=ValueError("x"), countdown=3600)


async def test_a_task_asks_for_a_retry() -> None:
    async with running(app):
        job = await by_hand.enqueue(2)

        assert await job.result(timeout=10) == 2
        info = await job.info()
        assert (info.retries, info.deliveries) == (2, 3)


async def test_a_retry_beyond_the_limit_fails_with_the_original_error() -> None:
    async with running(app):
        job = await by_hand.enqueue(9)
        with pytest.raises(TaskFailed, match="no answer") as caught:
            await job.result(timeout=10)

        assert caught.value.exc_type == "ConnectionError"
        assert (await job.info()).retries == 2


@pytest.mark.parametrize(("kind", "runs"), [("reset", 4), ("pipe", 1), ("value", 1)])
async def test_listed_errors_are_retried_by_themselves(kind: str, runs: int) -> None:
    async with running(app):
        job = await by_itself.enqueue(kind)
        with pytest.raises(TaskFailed):
            await job.result(timeout=10)

        assert len(calls) == runs


async def test_retry_kwargs_are_accepted_as_celery_does() -> None:
    async with running(app):
        with pytest.raises(TaskFailed, match="disk"):
            await (await in_a_thread.enqueue()).result(timeout=10)

        assert len(calls) == 2


async def test_retry_can_be_raised_and_its_cause_is_the_error() -> None:
    async with running(app):
        with pytest.raises(TaskFailed, match="ValueError: the reason"):
            await (await raising.enqueue()).result(timeout=10)


async def test_a_snooze_is_no_retry() -> None:
    async with running(app):
        assert await (await snoozing.enqueue()).result(timeout=10) == 0


async def test_a_rejected_job_fails_at_once() -> None:
    async with running(app):
        job = await rejecting.enqueue()
        with pytest.raises(TaskFailed, match="not for us"):
            await job.result(timeout=10)

        assert (await job.info()).deliveries == 1


async def test_a_job_that_waits_for_its_retry_says_so_and_why() -> None:
    async with running(app):
        job = await later.enqueue()

        async def waits_for_its_retry() -> bool:
            return await job.status() is JobState.RETRY

        await eventually(waits_for_its_retry)
        info = await job.info()
        assert info.error is not None
        assert (info.error.exc_type, info.retries, info.args) == ("ValueError", 1, ())


@app.task(bind=True, max_retries=None)
async def never_again(self: Context, countdown: float) -> None:
    self.retry(countdown=countdown)


@pytest.mark.parametrize("countdown", [1e20, 2.0**1000])
async def test_a_retry_in_the_endless_future_harms_no_neighbour(countdown: float) -> None:
    async with running(app) as worker:
        jobs = [await never_again.enqueue(countdown), await by_hand.enqueue(0)]
        await worker.run_until_idle()

        assert [await job.status() for job in jobs] == [JobState.RETRY, JobState.SUCCESS]
        assert (await jobs[0].info()).due_at is not None


async def test_a_retry_after_no_number_fails_the_job() -> None:
    async with running(app):
        with pytest.raises(TaskFailed, match="countdown=nan is no number"):
            await (await never_again.enqueue(float("nan"))).result(timeout=10)
