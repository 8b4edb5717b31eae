"""Threads and processes."""

import asyncio
import os
import threading
from datetime import UTC, datetime

import pytest

from aioq import CONTEXT, Aioq, ConfigurationError, Context, JobState, Settings, TaskFailed
from aioq.testing import running
from tests.eventually import eventually

app = Aioq(settings=Settings(threads=2, process_workers=2))
release = threading.Event()
inside = 0
most_inside = 0
lock = threading.Lock()


@app.task
def in_a_thread() -> str:
    global inside, most_inside
    with lock:
        inside += 1
        most_inside = max(most_inside, inside)
    release.wait(10)
    with lock:
        inside -= 1
    return threading.current_thread().name


@app.task
def stopping() -> None:
    raise StopIteration


@app.task(executor="process")
def in_a_process(at: datetime, ctx: Context = CONTEXT) -> tuple[int, str, int]:
    return os.getpid(), ctx.job_id, at.year


@app.task(executor="process")
async def coroutine_in_a_process(n: int) -> int:
    await asyncio.sleep(0)
    return n * 2


@app.task(
    executor="process", autoretry_for=(LookupError,), max_retries=1, default_retry_delay=0.001
)
def failing_in_a_process() -> None:
    raise KeyError("missing")


@app.task(executor="process")
def dying() -> None:
    os._exit(9)


async def test_threads_are_bounded_and_those_who_wait_are_received() -> None:
    global most_inside
    most_inside = 0
    release.clear()
    async with running(app) as worker:
        jobs = await in_a_thread.enqueue_many([() for _ in range(6)])

        async def states() -> list[JobState]:
            return sorted([await job.status() for job in jobs])

        async def two_run_and_four_wait() -> bool:
            return await states() == [JobState.RECEIVED] * 4 + [JobState.STARTED] * 2

        await eventually(two_run_and_four_wait)
        release.set()
        for job in jobs:
            assert (await job.result(timeout=10)).startswith("aioq")
        await worker.run_until_idle()

    assert most_inside == 2


async def test_stop_iteration_from_a_thread_is_a_failure_and_no_hang() -> None:
    async with running(app):
        with pytest.raises(TaskFailed, match="StopIteration"):
            await (await stopping.enqueue()).result(timeout=10)


async def test_a_process_task_runs_in_another_process_with_its_types() -> None:
    async with running(app):
        job = await in_a_process.enqueue(datetime(2030, 1, 1, tzinfo=UTC))
        pid, job_id, year = await job.result(timeout=30)

        assert (pid != os.getpid(), job_id, year) == (True, job.id, 2030)


async def test_a_coroutine_may_run_in_a_process() -> None:
    async with running(app):
        assert await (await coroutine_in_a_process.enqueue(21)).result(timeout=30) == 42


async def test_an_error_in_a_process_is_retried_and_keeps_its_traceback() -> None:
    async with running(app):
        job = await failing_in_a_process.enqueue()
        with pytest.raises(TaskFailed, match="missing") as caught:
            await job.result(timeout=30)

        assert isinstance(caught.value.__cause__, KeyError)
        assert 'raise KeyError("missing")' in caught.value.traceback
        assert (await job.info()).retries == 1


async def test_a_process_that_dies_fails_its_job_and_no_other() -> None:
    async with running(app) as worker:
        dead = await dying.enqueue()
        alive = await coroutine_in_a_process.enqueue(1)
        with pytest.raises(TaskFailed, match="died") as caught:
            await dead.result(timeout=30)

        assert caught.value.exc_type == "aioq.core.errors.WorkerLost"
        assert await alive.result(timeout=30) == 2
        await worker.run_until_idle()


async def test_a_process_task_inside_a_function_is_refused_at_the_start() -> None:
    other = Aioq()

    @other.task(executor="process")
    def hidden() -> None: ...

    with pytest.raises(ConfigurationError, match="inside a function"):
        async with running(other):
            pass


async def test_an_annotation_that_cannot_be_decoded_is_refused_at_the_start() -> None:
    class Strange: ...

    other = Aioq()

    @other.task
    async def odd(thing: Strange) -> None: ...

    with pytest.raises(ConfigurationError, match=r"parameter 'thing' of task .*odd"):
        async with running(other):
            pass


async def test_the_event_loop_stays_free_while_threads_work() -> None:
    release.clear()
    async with running(app) as worker:
        job = await in_a_thread.enqueue()
        await eventually(lambda: worker.running == 1)
        ticks = 0
        for _ in range(10):
            await asyncio.sleep(0)
            ticks += 1
        release.set()
        await job.result(timeout=10)

    assert ticks == 10
