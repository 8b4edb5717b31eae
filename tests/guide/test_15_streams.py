"""Streams: what a task yields reaches its readers as it is yielded."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from aioq import CONTEXT, Aioq, Context, JobState, StreamGap, StreamRestarted, TaskFailed
from aioq.testing import running

app = Aioq()
go_on: asyncio.Event


@pytest.fixture(autouse=True)
async def nobody_goes_on() -> None:
    global go_on
    go_on = asyncio.Event()


@dataclass
class Token:
    text: str
    probability: float


@app.task
async def tell(story: str) -> AsyncIterator[str]:
    for word in story.split():
        yield word


@app.task
async def complete(prompt: str) -> AsyncIterator[Token]:
    yield Token(prompt, 1.0)
    yield Token("!", 0.5)


@app.task
async def wait_in_the_middle() -> AsyncIterator[str]:
    yield "before"
    await go_on.wait()
    yield "after"


@app.task
async def fail_at_last() -> AsyncIterator[str]:
    yield "so far"
    raise ValueError("no further")


@app.task(autoretry_for=(ConnectionError,), default_retry_delay=0)
async def start_anew(ctx: Context = CONTEXT) -> AsyncIterator[str]:
    yield "hello"
    if ctx.request.retries == 0:
        await go_on.wait()
        raise ConnectionError("the line is gone")
    yield "world"


@app.task
async def count(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


async def test_a_task_that_yields_streams() -> None:
    async with running(app):
        job = await tell.enqueue("once upon a time")
        assert [word async for word in job.stream()] == ["once", "upon", "a", "time"]
        assert await job.result() is None


async def test_an_item_arrives_while_the_job_runs() -> None:
    async with running(app):
        job = await wait_in_the_middle.enqueue()
        stream = job.stream()
        assert await anext(stream) == "before"
        assert await job.status() is JobState.STARTED
        go_on.set()
        assert await anext(stream) == "after"


async def test_items_have_the_type_that_the_task_is_annotated_with() -> None:
    async with running(app):
        job = await complete.enqueue("Hi")
        assert [each async for each in job.stream()] == [Token("Hi", 1.0), Token("!", 0.5)]
        by_id = app.job(job.id).stream()
        assert await anext(by_id) == {"text": "Hi", "probability": 1.0}


async def test_every_reader_gets_every_item_however_late_it_comes() -> None:
    async with running(app):
        job = await tell.enqueue("to be or not")
        await job.result()
        for _ in range(3):
            assert [word async for word in job.stream()] == ["to", "be", "or", "not"]


async def test_a_reader_goes_on_where_it_was() -> None:
    async with running(app):
        job = await tell.enqueue("to be or not")
        stream = job.stream()
        assert (await anext(stream), await anext(stream), stream.position) == ("to", "be", "1-2")
        elsewhere = tell.job(job.id).stream(after=stream.position)
        assert [word async for word in elsewhere] == ["or", "not"]


async def test_a_failure_is_raised_behind_the_last_item() -> None:
    async with running(app):
        stream = (await fail_at_last.enqueue()).stream()
        assert await anext(stream) == "so far"
        with pytest.raises(TaskFailed, match="no further"):
            await anext(stream)


async def test_a_reader_is_told_when_the_task_is_started_anew() -> None:
    async with running(app):
        stream = (await start_anew.enqueue()).stream()
        assert await anext(stream) == "hello"
        go_on.set()
        with pytest.raises(StreamRestarted) as restarted:
            await anext(stream)
        assert restarted.value.generation == 2
        assert [word async for word in stream] == ["hello", "world"]


async def test_a_reader_that_fell_behind_is_told_what_it_has_missed() -> None:
    async with running(app):
        job = await count.enqueue(12_000)
        await job.result()
        stream = job.stream(after="1-500")
        with pytest.raises(StreamGap) as gap:
            await anext(stream)
        assert gap.value.missed == 1500
        assert await anext(stream) == 2000


async def test_a_plain_call_is_the_generator_itself() -> None:
    assert [word async for word in tell("here and now")] == ["here", "and", "now"]
