"""What a task knows of its job, and what the worker gives it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aioq import CONTEXT, Aioq, Context, JobState, current_job
from aioq.testing import running
from tests.eventually import eventually

entered: list[str] = []


async def lifespan(app: Aioq) -> AsyncGenerator[dict[str, str]]:
    entered.append("in")
    yield {"greeting": "hello"}
    entered.append("out")


app = Aioq(lifespan=lifespan)
go_on: asyncio.Event


@app.task(bind=True)
async def bound(self: Context, name: str) -> str:
    return f"{self.state['greeting']} {name}"


@app.task
async def injected(name: str, ctx: Context = CONTEXT) -> list[str]:
    return [ctx.job_id, ctx.task_name, ctx.queue, name]


@app.task
def anywhere() -> str:
    return current_job().job_id


@app.task
async def headed(ctx: Context = CONTEXT) -> dict[str, str]:
    return ctx.headers


@app.task
async def reporting(ctx: Context = CONTEXT) -> None:
    await ctx.progress(1, 4, "a quarter", step="first")
    await go_on.wait()


@app.task
def reporting_in_a_thread(ctx: Context = CONTEXT) -> None:
    ctx.update_state_sync(state="PROGRESS", meta={"current": 3, "total": 4})


async def test_a_bound_task_gets_its_context_first() -> None:
    async with running(app):
        assert await (await bound.enqueue("you")).result(timeout=10) == "hello you"


async def test_a_parameter_named_context_is_filled() -> None:
    async with running(app):
        job = await injected.enqueue("me")

        assert await job.result(timeout=10) == [job.id, injected.name, "default", "me"]


async def test_the_current_job_is_known_from_anywhere_in_a_thread_too() -> None:
    async with running(app):
        job = await anywhere.enqueue()

        assert await job.result(timeout=10) == job.id


async def test_headers_travel_with_the_job() -> None:
    async with running(app):
        job = await headed.options(headers={"trace": "abc"}).enqueue()

        assert await job.result(timeout=10) == {"trace": "abc"}


async def test_a_plain_call_has_a_context_of_no_job() -> None:
    assert (await injected("me"))[0] == ""


async def test_progress_is_seen_while_the_job_runs() -> None:
    global go_on
    go_on = asyncio.Event()
    async with running(app):
        job = await reporting.enqueue()

        async def has_progress() -> bool:
            return await job.status() is JobState.PROGRESS

        await eventually(has_progress)
        progress = (await job.info()).progress
        assert progress is not None
        assert (progress.current, progress.total, progress.message) == (1, 4, "a quarter")
        assert progress.meta == {"step": "first"}
        go_on.set()
        await job.result(timeout=10)
        assert await job.status() is JobState.SUCCESS


async def test_a_def_task_reports_with_the_sync_twin() -> None:
    async with running(app):
        job = await reporting_in_a_thread.enqueue()
        await job.result(timeout=10)
        progress = (await job.info()).progress

        assert progress is not None
        assert (progress.current, progress.total) == (3, 4)


async def test_the_lifespan_is_entered_once_per_worker() -> None:
    entered.clear()
    async with running(app):
        await bound.enqueue("you")
        assert entered == ["in"]

    assert entered == ["in", "out"]


async def test_a_lifespan_may_be_a_context_manager() -> None:
    @asynccontextmanager
    async def managed(app: Aioq) -> AsyncGenerator[int]:
        yield 42

    other = Aioq(lifespan=managed)

    @other.task
    async def answer(ctx: Context = CONTEXT) -> int:
        return ctx.state

    async with running(other):
        assert await (await answer.enqueue()).result(timeout=10) == 42
