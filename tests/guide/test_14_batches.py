"""Batches: one call of the function takes many jobs, and each job ends by itself."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import aioq
from aioq import (
    CONTEXT,
    Aioq,
    BatchContext,
    BatchTask,
    ConfigurationError,
    Context,
    Retry,
    TaskFailed,
    current_job,
)
from aioq.job import Job
from aioq.testing import running
from tests.eventually import eventually

app = Aioq()
sizes: list[int] = []


@pytest.fixture(autouse=True)
def nothing_was_called() -> None:
    sizes.clear()


@dataclass
class Page:
    url: str
    text: str = ""


@app.batch_task(size=10, wait=0.1)
async def index(pages: list[Page]) -> list[int]:
    sizes.append(len(pages))
    return [len(page.text) for page in pages]


@app.batch_task(size=3, wait=0.1, max_retries=2, default_retry_delay=0.001)
async def picky(items: list[str]) -> list[str | Exception]:
    sizes.append(len(items))
    jobs = current_batch().jobs
    return [_one(item, retries=job.request.retries) for item, job in zip(items, jobs, strict=True)]


def current_batch() -> BatchContext:
    found = current_job()
    assert isinstance(found, BatchContext)
    return found


def _one(item: str, *, retries: int) -> str | Exception:
    if item == "bad":
        return ValueError("nobody wants it")
    if item == "again" and not retries:
        return Retry(countdown=0.001)
    return f"{item} after {retries}"


@app.batch_task(size=3, wait=0.1, autoretry_for=(ConnectionError,), default_retry_delay=0.001)
async def away(items: list[int], ctx: Context = CONTEXT) -> list[int]:
    sizes.append(len(items))
    if ctx.request.retries == 0:
        raise ConnectionError("no answer")
    return items


@app.batch_task(size=3, wait=0.1)
async def broken(items: list[Any]) -> list[Any]:
    answers: dict[str, Any] = {
        "none": None,
        "short": items[1:],
        "long": [*items, 0],
        "text": "abc",
        "map": {},
    }
    return answers[items[0]]


@app.batch_task(size=2, wait=0.1)
def in_a_thread(items: list[int]) -> tuple[str, ...]:
    return tuple(threading.current_thread().name for _ in items)


@app.batch_task(bind=True, size=2, wait=0.1)
async def bound(self: BatchContext, items: Sequence[int]) -> list[tuple[str, int, int]]:
    await self.progress(1, 2)
    await self.jobs[0].progress(2, 2)
    return [(job.job_id, len(self.jobs), item) for job, item in zip(self.jobs, items, strict=True)]


async def failure(job: Job[Any]) -> str:
    with pytest.raises(TaskFailed) as caught:
        await job.result(timeout=10)
    return f"{caught.value.exc_type}: {caught.value.exc_message}"


async def test_one_call_takes_many_jobs_and_each_has_its_own_result() -> None:
    async with running(app):
        jobs = await asyncio.gather(*(index.enqueue(Page("/", "x" * n)) for n in range(10)))

        assert [await job.result(timeout=10) for job in jobs] == list(range(10))
        assert sum(sizes) == 10
        assert len(sizes) < 10


async def test_a_full_batch_waits_no_longer() -> None:
    async with running(app):
        jobs = await index.enqueue_many([(Page("/"),) for _ in range(25)])

        assert [await job.result(timeout=10) for job in jobs] == [0] * 25
        assert sizes == [10, 10, 5]


async def test_the_plain_call_runs_the_list_here_and_now() -> None:
    assert await index([Page("/a", "abc"), Page("/b")]) == [3, 0]
    assert in_a_thread([1]) == ("MainThread",)
    assert await bound([7]) == [("", 1, 7)]


async def test_an_exception_in_the_list_is_of_that_job_alone() -> None:
    async with running(app):
        jobs = await picky.enqueue_many([("good",), ("bad",), ("fine",)])

        assert await jobs[0].result(timeout=10) == "good after 0"
        assert await failure(jobs[1]) == "ValueError: nobody wants it"
        assert await jobs[2].result(timeout=10) == "fine after 0"
        assert sizes == [3]


async def test_a_job_that_is_retried_comes_again_in_a_later_batch() -> None:
    async with running(app):
        jobs = await picky.enqueue_many([("again",), ("good",), ("fine",)])

        assert await jobs[0].result(timeout=10) == "again after 1"
        assert (await jobs[0].info()).retries == 1
        assert (await jobs[1].info()).retries == 0
        assert sizes == [3, 1]


async def test_an_exception_of_the_call_is_one_of_each_job() -> None:
    async with running(app):
        jobs = await away.enqueue_many([(1,), (2,), (3,)])

        assert [await job.result(timeout=10) for job in jobs] == [1, 2, 3]
        assert [(await job.info()).retries for job in jobs] == [1, 1, 1]
        assert sizes[0] == 3


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("none", "returned None for 3 items; a batch task returns a list with one result"),
        ("short", "returned 2 results for 3 items"),
        ("long", "returned 4 results for 3 items"),
        ("text", "returned a value of type str for 3 items"),
        ("map", "returned a value of type dict for 3 items"),
    ],
)
async def test_a_list_that_does_not_fit_fails_each_job(kind: str, message: str) -> None:
    async with running(app):
        for job in await broken.enqueue_many([(kind,), (2,), (3,)]):
            assert message in await failure(job)


async def test_an_item_that_does_not_fit_its_type_fails_alone() -> None:
    async with running(app):
        good = await index.enqueue(Page("/", "abc"))
        # As somebody enqueues who does not have the task's code.
        bad = await app.send_task(index.name, args=({"url": 5},))

        assert await good.result(timeout=10) == 3
        assert "argument 'item' of task" in await failure(bad)


async def test_a_call_of_two_items_is_refused_where_it_is_written() -> None:
    async with running(app):
        with pytest.raises(TypeError, match="too many positional arguments"):
            await index.enqueue(Page("/"), Page("/"))  # pyright: ignore[reportCallIssue]
        with pytest.raises(TypeError, match="missing a required"):
            await index.enqueue_many([()])


async def test_a_plain_def_runs_in_a_thread() -> None:
    async with running(app):
        job = await in_a_thread.enqueue(1)

        assert (await job.result(timeout=10)).startswith("aioq")


async def test_the_context_of_a_batch_has_one_for_each_job() -> None:
    async with running(app):
        jobs = await bound.enqueue_many([(1,), (2,)])

        assert await jobs[0].result(timeout=10) == (jobs[0].id, 2, 1)
        assert await jobs[1].result(timeout=10) == (jobs[1].id, 2, 2)
        seen = [(await job.info()).progress for job in jobs]
        assert [each and each.current for each in seen] == [2, 1]


async def test_options_are_those_of_each_job() -> None:
    async with running(app) as worker:
        later = await index.options(countdown=3600).enqueue(Page("/"))
        known = await index.options(job_id="page-1").enqueue(Page("/", "abc"))
        again = await index.options(job_id="page-1").enqueue(Page("/", "abc"))

        assert await known.result(timeout=10) == 3
        assert not again.created
        await worker.run_until_idle()
        assert sizes == [1]
        assert (await later.info()).started_at is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 0}, "size=0 is wrong: it is a whole number from 1 to 1000"),
        ({"size": 1001}, "size=1001 is wrong"),
        ({"size": True}, "size=True is wrong"),
        ({"size": 2.5}, "size=2.5 is wrong"),
        ({"wait": -1}, "wait=-1 is wrong: it is a number of seconds from 0 to 3600"),
        ({"wait": float("nan")}, "wait=nan is wrong"),
        ({"wait": None}, "wait=None is wrong"),
        ({"sizes": 3}, "unknown option 'sizes'"),
        ({"executor": "process"}, 'executor="process" is not for batch tasks'),
        ({"max_retries": -1}, "max_retries=-1 is wrong"),
    ],
)
def test_a_wrong_option_is_refused_at_the_definition(given: dict[str, Any], message: str) -> None:
    async def function(items: list[int]) -> list[int]:
        return items

    with pytest.raises(ConfigurationError) as caught:
        Aioq().batch_task(**given)(function)
    assert message in str(caught.value)


async def one_item(item: int) -> list[int]: ...


async def two_lists(items: list[int], more: list[int]) -> list[int]: ...


async def by_keyword(*, items: list[int]) -> list[int]: ...


async def nothing(items: list[int]) -> None: ...


async def a_pair(items: list[int]) -> tuple[int, int]: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (one_item, "its parameter 'item' is annotated int; a batch task takes a list"),
        (two_lists, "takes (items: list[int], more: list[int]) -> list[int]; a batch task takes"),
        (by_keyword, "a batch task takes one list"),
        (nothing, "its return value is annotated NoneType"),
        (a_pair, "its return value is annotated tuple"),
    ],
)
def test_a_function_that_takes_or_returns_no_list_is_refused(
    function: Callable[..., Any], message: str
) -> None:
    task: BatchTask[Any, Any] = Aioq().batch_task()(function)
    with pytest.raises(ConfigurationError) as caught:
        task.parameters.compile()
    assert message in str(caught.value)


async def test_a_generator_is_no_batch_task() -> None:
    async def stream(items: list[int]) -> AsyncIterator[int]:
        yield items[0]

    with pytest.raises(ConfigurationError, match="generator"):
        Aioq().batch_task()(stream)  # pyright: ignore[reportArgumentType, reportCallIssue]


async def test_limits_count_jobs_and_not_calls() -> None:
    limited = Aioq()

    @limited.batch_task(name="limited", size=10, wait=0.05, max_concurrency=2)
    async def call(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return items

    async with running(limited):
        jobs = await call.enqueue_many([(n,) for n in range(5)])
        assert [await job.result(timeout=10) for job in jobs] == list(range(5))

    await eventually(lambda: sum(sizes) == 5)
    assert max(sizes) <= 2


async def test_a_job_has_one_item_and_is_no_call_for_many() -> None:
    for refused in (index.map, index.starmap):
        with pytest.raises(ConfigurationError, match=r"use index.enqueue_many\("):
            refused([])


@aioq.batch_task(name="shared", size=2, wait=0.01)
async def shared(items: list[int]) -> list[int]:
    return [item + 1 for item in items]


async def test_a_shared_batch_task_belongs_to_the_app_that_includes_its_module() -> None:
    async with running(Aioq(include=[__name__])):
        assert await (await shared.enqueue(1)).result(timeout=10) == 2
