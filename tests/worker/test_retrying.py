"""Every way to ask for another run, wherever the task runs."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aioq import CONTEXT, Aioq, Context, JobState, Retry, Settings, TaskFailed, current_job
from aioq.tasks import Task
from aioq.testing import running
from tests.eventually import eventually

app = Aioq(settings=Settings(process_workers=1))


class Busy(Exception): ...


def fail() -> None:
    raise Busy("no time")


def without_raise(ctx: Context) -> None:
    ctx.retry(exc=Busy("no time"), countdown=0.001)


def with_raise(ctx: Context) -> None:
    raise ctx.retry(exc=Busy("no time"), countdown=0.001)


def with_eta(ctx: Context) -> None:
    ctx.retry(exc=Busy("no time"), eta=datetime.now(UTC) + timedelta(milliseconds=1))


def while_handling(ctx: Context) -> None:
    try:
        fail()
    except Busy:
        ctx.retry(countdown=0.001)


def raised_itself(ctx: Context) -> None:
    raise Retry(Busy("no time"), countdown=0.001)


def raised_from(ctx: Context) -> None:
    raise Retry(countdown=0.001) from Busy("no time")


WAYS: dict[str, Callable[[Context], None]] = {
    way.__name__: way
    for way in (without_raise, with_raise, with_eta, while_handling, raised_itself, raised_from)
}


@app.task(max_retries=2)
async def in_the_loop(way: str, ctx: Context = CONTEXT) -> None:
    WAYS[way](ctx)


@app.task(max_retries=2)
async def in_a_task_group(way: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(3600))
        WAYS[way](current_job())


@app.task(max_retries=2)
def in_a_thread(way: str, ctx: Context = CONTEXT) -> None:
    WAYS[way](ctx)


@app.task(max_retries=2, executor="process")
def in_a_process(way: str, ctx: Context = CONTEXT) -> None:
    WAYS[way](ctx)


@pytest.mark.parametrize("task", [in_the_loop, in_a_task_group, in_a_thread, in_a_process])
async def test_every_spelling_runs_the_job_again_and_ends_with_the_original_error(
    task: Task[[str], None],
) -> None:
    async with running(app):
        jobs = [await task.enqueue(way) for way in WAYS]
        for job in jobs:
            with pytest.raises(TaskFailed, match="no time") as caught:
                await job.result(timeout=30)

            assert caught.value.exc_type == "tests.worker.test_retrying.Busy"
            info = await job.info()
            assert (info.retries, info.deliveries, info.crashes) == (2, 3, 0)


@app.task(bind=True, max_retries=9)
async def with_a_limit_of_its_own(self: Context, most: int | None) -> int:
    if self.request.retries < 12:
        self.retry(exc=Busy(), countdown=0.001, max_retries=most)
    return self.request.retries


async def test_a_retry_may_replace_the_limit_of_its_task() -> None:
    async with running(app):
        assert await (await with_a_limit_of_its_own.enqueue(None)).result(timeout=10) == 12
        fewer = await with_a_limit_of_its_own.enqueue(1)
        with pytest.raises(TaskFailed, match="Busy"):
            await fewer.result(timeout=10)
        assert (await fewer.info()).retries == 1


@app.task(autoretry_for=(Busy,), retry_kwargs={"max_retries": 2, "countdown": 0.001})
async def by_celerys_table() -> None:
    raise Busy


@app.task(autoretry_for=(Busy,), max_retries=2, retry_backoff=0.001, retry_jitter=False)
def by_backoff() -> None:
    raise Busy


@app.task(autoretry_for=(Busy,), max_retries=2, retry_backoff=True, default_retry_delay=0.001,
          retry_backoff_max=0.002)  # fmt: skip
def by_backoff_of_the_delay() -> None:
    raise Busy


@app.task(autoretry_for=(Busy,), max_retries=None, default_retry_delay=0.001)
async def for_ever(ctx: Context = CONTEXT) -> int:
    if ctx.request.retries < 5:
        raise Busy
    return ctx.request.retries


@pytest.mark.parametrize("task", [by_celerys_table, by_backoff, by_backoff_of_the_delay])
async def test_every_option_that_retries_by_itself(task: Task[[], None]) -> None:
    async with running(app):
        job = await task.enqueue()
        with pytest.raises(TaskFailed, match="Busy"):
            await job.result(timeout=10)

        assert (await job.info()).retries == 2


async def test_no_limit_is_no_limit() -> None:
    async with running(app):
        assert await (await for_ever.enqueue()).result(timeout=10) == 5


@app.task(bind=True)
async def later(self: Context, **when: Any) -> None:  # noqa: ANN401 - what retry takes
    self.retry(exc=Busy(), **when)


@pytest.mark.parametrize(
    ("when", "seconds"), [({"countdown": 60}, 60), ({}, 180), ({"countdown": -5}, 0)]
)
async def test_a_retry_waits_as_long_as_it_says(when: dict[str, float], seconds: float) -> None:
    async with running(app):
        job = await later.enqueue(**when)
        if not seconds:
            with pytest.raises(TaskFailed):
                await job.result(timeout=10)
            return

        async def waits() -> bool:
            return await job.status() is JobState.RETRY

        await eventually(waits)
        due = (await job.info()).due_at
        assert due is not None
        assert (
            timedelta(seconds=seconds - 30) < due - datetime.now(UTC) <= timedelta(seconds=seconds)
        )
