"""Batches in the worker: collected, called and given up, and no job is lost or held in vain."""

import asyncio
import threading
from typing import Any

import pytest

from aioq import (
    CONTEXT,
    Aioq,
    BatchContext,
    ConfigurationError,
    Context,
    Job,
    JobState,
    Revoked,
    Settings,
    TaskFailed,
)
from aioq.broker.broker import reap
from aioq.core.suspend import Suspend
from aioq.embedded import PrivateServer
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

LONG = 3600
"""Seconds that no test waits for."""

app = Aioq(settings=Settings(lease=1, grace=0.1, threads=1))
hold: asyncio.Event
go_on = threading.Event()
calls: list[list[int]] = []
seen: list[Any] = []


@pytest.fixture(autouse=True)
async def nobody_is_let_go() -> None:
    global hold
    hold = asyncio.Event()
    go_on.clear()
    calls.clear()
    seen.clear()


@app.batch_task(size=3, wait=LONG)
async def held(items: list[int], ctx: Context = CONTEXT) -> list[int]:
    calls.append(items)
    try:
        await hold.wait()
    except asyncio.CancelledError:
        seen.append(ctx.cancel_reason)
        raise
    return items


@app.batch_task(size=3, wait=LONG, acks_late=False)
async def at_most_once(items: list[int]) -> list[int]:
    calls.append(items)
    await hold.wait()
    return items


@app.batch_task(size=3, wait=0.01, time_limit=0.1)
async def too_long(items: list[int]) -> list[int]:
    try:
        await asyncio.sleep(LONG)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
        seen.append("cleaned up")
        raise
    return items


@app.batch_task(size=3, wait=0.01, soft_time_limit=0.1)
async def softly(items: list[int]) -> list[str]:
    try:
        await asyncio.sleep(LONG)
    except asyncio.CancelledError as error:
        return [type(error).__name__ for _ in items]
    return []


@app.batch_task(size=3, wait=LONG)
async def stubborn(items: list[int]) -> list[int]:
    calls.append(items)
    while not hold.is_set():
        try:
            await hold.wait()
        except asyncio.CancelledError:
            seen.append("swallowed")
    return items


@app.batch_task(size=2, wait=LONG)
def in_a_thread(items: list[int]) -> list[int]:
    calls.append(items)
    go_on.wait(10)
    return items


@app.batch_task(size=1000, wait=0)
async def at_once(items: list[int]) -> list[int]:
    calls.append(items)
    return items


@app.batch_task(size=2, wait=0.01, ignore_result=True)
async def sharing_an_error(items: list[int]) -> list[Exception]:
    error = ValueError("shared")
    try:
        raise error
    except ValueError:
        return [error] * len(items)


@app.batch_task(size=3, wait=0.01)
async def raising(items: list[int]) -> list[int]:
    raise {1: ValueError("all of them"), 2: SystemExit(3), 3: asyncio.CancelledError("mine")}[
        items[0]
    ]


@app.batch_task(size=3, wait=0.01)
async def listing_the_unusual(items: list[int]) -> list[BaseException | object]:
    unusual: list[BaseException | object] = [
        KeyboardInterrupt(),
        StopIteration(),
        object(),
    ]
    return unusual[: len(items)]


@app.task
async def plain() -> str:
    await hold.wait()
    return "plain"


async def enqueued(task: Any, *items: int) -> list[Job[Any]]:  # noqa: ANN401 - any batch task
    return await task.enqueue_many([(item,) for item in items])


async def results(jobs: list[Job[Any]]) -> list[Any]:
    return [await job.result(timeout=10) for job in jobs]


async def collected(worker: Worker, count: int) -> None:
    await eventually(lambda: worker.running == count)


async def test_a_batch_is_called_when_it_is_full() -> None:
    hold.set()
    async with running(app):
        jobs = await enqueued(held, 1, 2, 3)

        assert await results(jobs) == [1, 2, 3]
        assert calls == [[1, 2, 3]]


async def test_a_batch_that_is_not_full_waits() -> None:
    async with running(app) as worker:
        jobs = await enqueued(held, 1, 2)
        await collected(worker, 2)
        assert [await job.status() for job in jobs] == [JobState.STARTED] * 2
        assert calls == []

        hold.set()
        jobs += await enqueued(held, 3)
        assert await results(jobs) == [1, 2, 3]


async def test_without_a_wait_those_that_came_together_are_called_together() -> None:
    async with running(app, concurrency=2000) as worker:
        await app.queues.pause("default")
        jobs = await enqueued(at_once, *range(40))
        await app.queues.resume("default")
        await worker.run_until_idle()

        assert await results(jobs) == list(range(40))
        assert len(calls) < 40


async def test_a_worker_without_room_waits_for_nobody() -> None:
    hold.set()
    async with running(app, concurrency=2) as worker:
        jobs = await enqueued(held, 1, 2, 3, 4)

        assert await results(jobs) == [1, 2, 3, 4]
        assert calls[0] == [1, 2]
        await worker.run_until_idle()


async def test_a_worker_that_is_full_of_others_calls_what_it_has() -> None:
    async with running(app, concurrency=3) as worker:
        others = [await plain.enqueue() for _ in range(2)]
        await collected(worker, 2)
        jobs = await enqueued(held, 1)
        await eventually(lambda: calls == [[1]])
        hold.set()

        assert await results([*jobs, *others]) == [1, "plain", "plain"]


async def test_a_draining_worker_calls_what_it_has() -> None:
    patient = Aioq(settings=Settings(grace=60))

    @patient.batch_task(name="waiting", size=3, wait=LONG)
    async def waiting(items: list[int]) -> list[int]:
        return items

    with PrivateServer() as server:
        async with running(patient, url=server.url) as worker:
            jobs = await enqueued(waiting, 1, 2)
            await collected(worker, 2)
            worker.drain()
            await eventually(lambda: worker.has_left)

            assert await results(jobs) == [1, 2]


async def test_a_burst_worker_leaves_when_the_last_batch_has_ended() -> None:
    with PrivateServer() as server:
        other = Aioq(server.url)

        @other.batch_task(name="collected", size=10, wait=0.05)
        async def task(items: list[int]) -> list[int]:
            calls.append(items)
            return items

        jobs = await enqueued(task, *range(15))
        worker = Worker(other, burst=True)
        worker.may_lose_jobs = True
        await asyncio.wait_for(worker.run(), 10)

        assert await results(jobs) == list(range(15))
        assert calls == [list(range(10)), list(range(10, 15))]
        await other.aclose()


async def is_revoked(job: Job[Any]) -> None:
    with pytest.raises(Revoked):
        await job.result(timeout=10)


async def test_a_job_that_is_revoked_while_it_waits_is_in_no_call() -> None:
    hold.set()
    async with running(app) as worker:
        jobs = await enqueued(held, 1, 2)
        await collected(worker, 2)
        assert await jobs[0].revoke()
        await is_revoked(jobs[0])
        jobs += await enqueued(held, 3, 4)

        assert await results(jobs[1:]) == [2, 3, 4]
        assert calls == [[2, 3, 4]]


async def test_when_all_that_wait_are_revoked_the_next_one_starts_anew() -> None:
    hold.set()
    async with running(app) as worker:
        jobs = await enqueued(held, 1, 2)
        await collected(worker, 2)
        for job in jobs:
            await job.revoke()
            await is_revoked(job)
        await collected(worker, 0)

        assert await results(await enqueued(held, 3, 4, 5)) == [3, 4, 5]
        assert calls == [[3, 4, 5]]


async def test_a_job_that_is_revoked_in_a_call_ends_alone() -> None:
    async with running(app) as worker:
        jobs = await enqueued(held, 1, 2, 3)
        await eventually(lambda: calls == [[1, 2, 3]])
        assert await jobs[1].revoke()
        await is_revoked(jobs[1])
        await collected(worker, 2)
        hold.set()

        assert await results([jobs[0], jobs[2]]) == [1, 3]
        assert await jobs[1].status() is JobState.REVOKED
        assert seen == []


async def test_a_call_all_of_whose_jobs_are_revoked_is_cancelled() -> None:
    async with running(app) as worker:
        jobs = await enqueued(held, 1, 2, 3)
        await eventually(lambda: calls == [[1, 2, 3]])
        for job in jobs:
            await job.revoke()
            await is_revoked(job)
        await collected(worker, 0)

        assert seen == ["revoked"]


async def test_the_time_limit_is_that_of_the_call() -> None:
    async with running(app) as worker:
        jobs = await enqueued(too_long, 1, 2, 3)
        for job in jobs:
            with pytest.raises(TaskFailed, match="ran longer than its time_limit") as caught:
                await job.result(timeout=10)
            assert "await asyncio.sleep(LONG)" in caught.value.traceback
        await worker.run_until_idle()

        assert seen == ["cleaned up"]


async def test_the_soft_limit_is_raised_in_the_call() -> None:
    async with running(app):
        jobs = await enqueued(softly, 1, 2, 3)

        assert await results(jobs) == ["SoftTimeLimitExceeded"] * 3


async def test_a_leaving_worker_cancels_the_call_and_gives_its_jobs_back() -> None:
    with PrivateServer() as server:
        async with running(app, url=server.url):
            jobs = await enqueued(held, 1, 2, 3)
            await eventually(lambda: calls == [[1, 2, 3]])
        assert seen == ["shutdown"]
        hold.set()
        async with running(app, url=server.url):
            assert await results(jobs) == [1, 2, 3]
            facts = [await job.info() for job in jobs]

    assert {(each.retries, each.crashes, each.deliveries) for each in facts} == {(0, 0, 2)}
    assert calls == [[1, 2, 3]] * 2


async def test_at_most_once_counts_from_the_call() -> None:
    """A job that was collected only has not run, and runs again."""
    with PrivateServer() as server:
        async with running(app, url=server.url) as worker:
            begun = await enqueued(at_most_once, 1, 2, 3)
            await eventually(lambda: calls == [[1, 2, 3]])
            waiting = await enqueued(at_most_once, 4, 5)
            await collected(worker, 5)
            worker.stop()  # it has no time for another call to begin
            await eventually(lambda: worker.has_left)
            for job in begun:
                with pytest.raises(TaskFailed, match="was interrupted while its worker left"):
                    await job.result(timeout=10)
        hold.set()
        async with running(app, url=server.url):
            waiting += await enqueued(at_most_once, 6)
            assert await results(waiting) == [4, 5, 6]


async def test_a_lost_lease_ends_the_call_and_the_jobs_run_again() -> None:
    async with running(app) as worker:
        jobs = await enqueued(held, 1, 2, 3)
        await eventually(lambda: len(calls) == 1)
        waiting = await enqueued(held, 4)
        await collected(worker, 4)
        broker = app.client.broker()
        await broker.run(reap(broker.keys.prefix, worker.identity.name, lease_ms=1000))
        await eventually(lambda: seen[:1] == ["lease lost"])
        hold.set()
        waiting += await enqueued(held, 5, 6)

        assert await results([*jobs, *waiting]) == [1, 2, 3, 4, 5, 6]
        facts = [await job.info() for job in [*jobs, *waiting]]
        assert [each.crashes for each in facts] == [1, 1, 1, 1, 0, 0]
        assert {each.retries for each in facts} == {0}


async def test_a_reconnect_gives_back_nothing_that_is_collected() -> None:
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url) as worker:
            jobs = await enqueued(held, 1, 2)
            await collected(worker, 2)
            server.kill()
            await asyncio.to_thread(server.restart)
            other = await plain.enqueue()  # it comes with a fetch, which recovers first
            await collected(worker, 3)
            hold.set()
            jobs += await enqueued(held, 3)

            assert await results([*jobs, other]) == [1, 2, 3, "plain"]
            assert {(await job.info()).deliveries for job in jobs} == {1}


async def test_a_call_that_swallows_its_cancellation_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aioq.worker.executor.STUBBORN", 0.05)
    with PrivateServer() as server:
        async with running(app, url=server.url):
            jobs = await enqueued(stubborn, 1, 2, 3)
            await eventually(lambda: calls == [[1, 2, 3]])
        assert "swallowed" in seen
        hold.set()
        async with running(app, url=server.url):
            assert await results(jobs) == [1, 2, 3]


async def test_a_batch_waits_for_its_thread_and_jobs_still_leave_it() -> None:
    async with running(app):
        first = await enqueued(in_a_thread, 1, 2)
        await eventually(lambda: calls == [[1, 2]])
        second = await enqueued(in_a_thread, 3, 4)

        async def are_received() -> bool:
            return {await job.status() for job in second} == {JobState.RECEIVED}

        await eventually(are_received)
        assert await second[0].revoke()
        await is_revoked(second[0])
        go_on.set()

        assert await results([*first, second[1]]) == [1, 2, 4]
        assert calls == [[1, 2], [4]]


async def test_a_batch_that_waits_for_its_thread_can_be_revoked_as_a_whole() -> None:
    async with running(app) as worker:
        first = await enqueued(in_a_thread, 1, 2)
        await eventually(lambda: calls == [[1, 2]])
        second = await enqueued(in_a_thread, 3, 4)
        await collected(worker, 4)
        for job in second:
            await job.revoke()
            await is_revoked(job)
        go_on.set()

        assert await results(first) == [1, 2]
        await worker.run_until_idle()
        assert calls == [[1, 2]]


async def test_jobs_that_share_an_error_have_the_same_traceback() -> None:
    async with running(app):
        traces: list[str] = []
        for job in await enqueued(sharing_an_error, 1, 2):
            with pytest.raises(TaskFailed, match="shared") as caught:
                await job.result(timeout=10)
            traces.append(caught.value.traceback)

    assert traces[0] == traces[1]
    assert "raise error" in traces[0]
    assert "aioq/worker" not in traces[0]


@pytest.mark.parametrize(
    ("kind", "message"),
    [(1, "all of them"), (2, "3"), (3, "mine")],
)
async def test_whatever_the_call_raises_fails_each_job(kind: int, message: str) -> None:
    async with running(app):
        for job in await enqueued(raising, kind, 0, 0):
            with pytest.raises(TaskFailed) as caught:
                await job.result(timeout=10)
            assert caught.value.exc_message == message


async def test_no_value_in_the_list_ends_the_worker() -> None:
    async with running(app) as worker:
        jobs = await enqueued(listing_the_unusual, 1, 2, 3)
        errors: list[str] = []
        for job in jobs:
            with pytest.raises(TaskFailed) as caught:
                await job.result(timeout=10)
            errors.append(caught.value.exc_message)

        assert "returned KeyboardInterrupt() for this job" in errors[0]
        assert "StopIteration" in errors[1]
        assert "type object that cannot be serialised" in errors[2]
        assert not worker.has_left


async def test_a_worker_says_which_batches_are_never_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING", "aioq.worker")
    async with running(app, concurrency=3):
        assert "at_once have at most 3 jobs and not 1000" in caplog.text
        assert "held have" not in caplog.text


@app.batch_task(size=1)
async def suspending(items: list[str]) -> list[int]:
    error = Suspend(None, ("name",))
    if items == ["in a group"]:
        raise BaseExceptionGroup("of a task group", [error])
    raise error


@pytest.mark.parametrize("how", ["plainly", "in a group"])
async def test_a_call_cannot_wait_outside_of_the_worker(how: str) -> None:
    async with running(app):
        job = await suspending.enqueue(how)
        with pytest.raises(TaskFailed, match="a batch task cannot wait as a durable task does"):
            await job.result(timeout=10)


@app.batch_task(size=2, wait=0.01)
async def stepping(items: list[int], ctx: BatchContext = CONTEXT) -> list[str]:
    answers = [await job.step("note", str, item) for item, job in zip(items, ctx.jobs, strict=True)]
    try:
        await ctx.step("of all", str, 1)
    except ConfigurationError as error:
        seen.append(str(error))
    return answers


async def test_a_step_belongs_to_one_job() -> None:
    async with running(app):
        assert await results(await enqueued(stepping, 1, 2)) == ["1", "2"]

    assert "ctx.step belongs to one job" in seen[0]
