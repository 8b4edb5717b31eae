"""How long a job may take, and how often it may take its worker along."""

import asyncio
import time

import pytest

from aioq import (
    CONTEXT,
    Aioq,
    ConfigurationError,
    Context,
    JobState,
    Settings,
    SoftTimeLimitExceeded,
    TaskFailed,
    TimeLimitExceeded,
)
from aioq.testing import running
from tests.eventually import eventually

app = Aioq()
log: list[str] = []


@pytest.fixture(autouse=True)
def nothing_logged() -> None:
    log.clear()


@app.task(time_limit=0.05)
async def call_a_slow_service() -> None:
    await asyncio.sleep(3600)


@app.task(time_limit=0.05, autoretry_for=(TimeLimitExceeded,), default_retry_delay=0.001)
async def try_again(ctx: Context = CONTEXT) -> str:
    if ctx.request.retries == 0:
        await asyncio.sleep(3600)
    return "faster this time"


@app.task(soft_time_limit=0.05, time_limit=60)
async def report(ctx: Context = CONTEXT) -> list[int]:
    rows: list[int] = []
    try:
        while True:
            await asyncio.sleep(0)
            rows.append(len(rows))
    except SoftTimeLimitExceeded:
        return rows[:3]  # what there is


async def download(name: str) -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        log.append(f"{name} closed")


@app.task(soft_time_limit=0.05)
async def download_all() -> str:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(download("a"))
            group.create_task(download("b"))
    except* SoftTimeLimitExceeded:
        log.append("gave up")
    return "some"


@app.task(time_limit=0.05)
def block() -> None:
    time.sleep(0.3)


@app.task(executor="process", soft_time_limit=0.05, time_limit=60)
def compute() -> str:
    try:
        while True:
            sum(range(1000))
    except SoftTimeLimitExceeded:
        return "an estimate"


async def test_a_task_past_its_time_limit_fails() -> None:
    async with running(app):
        with pytest.raises(TaskFailed, match=r"ran longer than its time_limit of 0\.05 s"):
            await (await call_a_slow_service.enqueue()).result(timeout=10)


async def test_it_is_retried_where_the_task_asks_for_it() -> None:
    async with running(app):
        assert await (await try_again.enqueue()).result(timeout=10) == "faster this time"


async def test_a_soft_limit_lets_the_task_return_what_it_has() -> None:
    async with running(app):
        assert await (await report.enqueue()).result(timeout=10) == [0, 1, 2]


async def test_a_soft_limit_leaves_no_children_behind() -> None:
    async with running(app):
        assert await (await download_all.enqueue()).result(timeout=10) == "some"
        assert sorted(log) == ["a closed", "b closed", "gave up"]
        assert log[-1] == "gave up"


async def test_a_thread_task_fails_at_its_limit_while_its_thread_goes_on() -> None:
    async with running(app):
        job = await block.enqueue()
        with pytest.raises(TaskFailed, match="time_limit"):
            await job.result(timeout=10)


def test_nothing_can_be_raised_inside_a_thread() -> None:
    with pytest.raises(ConfigurationError, match=r'soft_time_limit=5 .*executor="process"'):
        app.task(soft_time_limit=5)(block.function)


async def test_a_process_task_has_a_soft_limit_too() -> None:
    async with running(app):
        assert await (await compute.enqueue()).result(timeout=30) == "an estimate"


async def test_limits_for_all_tasks_come_from_the_settings() -> None:
    settings = Settings(
        task_annotations={"*": {"time_limit": 300, "soft_time_limit": 250, "max_crashes": 1}}
    )
    annotated = Aioq(settings=settings)
    there = annotated.task(soft_time_limit=10)(call_a_slow_service.function)

    assert (there.definition.time_limit, there.definition.soft_time_limit) == (300, 10)
    assert there.definition.max_crashes == 1
    with pytest.raises(ConfigurationError, match="soft_time_limit=None"):
        annotated.task(block.function)
    assert annotated.task(soft_time_limit=None)(block.function).definition.time_limit == 300


async def test_at_most_once_a_job_that_is_interrupted_is_not_run_again() -> None:
    careful = Aioq(settings=Settings(grace=0))

    @careful.task(acks_late=False)
    async def pay() -> None:
        log.append("paying")
        await asyncio.sleep(3600)

    async with running(careful) as worker:
        job = await pay.enqueue()
        await eventually(lambda: log)
        worker.stop()
        await eventually(lambda: worker.has_left)

        assert await job.status() is JobState.FAILURE
        error = (await job.info()).error
        assert error is not None
        assert error.exc_type == "aioq.core.errors.WorkerLost"
