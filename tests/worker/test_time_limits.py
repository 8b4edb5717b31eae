"""Limits on how long a job runs, as its caller sees them: in the loop, a thread, a process."""

import asyncio
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from aioq import (
    CONTEXT,
    Aioq,
    Context,
    Job,
    JobState,
    Settings,
    SoftTimeLimitExceeded,
    TaskFailed,
    TimeLimitExceeded,
)
from aioq.testing import running
from tests.eventually import eventually
from tests.worker import slow_to_import

HARD = "aioq.core.errors.TimeLimitExceeded"
SOFT = "aioq.core.errors.SoftTimeLimitExceeded"
app = Aioq(settings=Settings(threads=1, process_workers=1))
hold: asyncio.Event
release = threading.Event()
seen: list[str | None] = []


@pytest.fixture(autouse=True)
async def nobody_is_let_go() -> None:
    global hold
    hold = asyncio.Event()
    release.clear()
    seen.clear()


async def failure(job: Job[Any]) -> TaskFailed:
    with pytest.raises(TaskFailed) as caught:
        await job.result(timeout=30)
    return caught.value


# In the event loop


@app.task(time_limit=0.02)
async def endless(ctx: Context = CONTEXT) -> None:
    try:
        await hold.wait()
    finally:
        seen.append(ctx.cancel_reason)


@app.task(time_limit=0.5)
async def endless_for_a_while(ctx: Context = CONTEXT) -> None:
    try:
        await hold.wait()
    finally:
        seen.append(ctx.cancel_reason)


@app.task(time_limit=60)
async def within() -> str:
    await asyncio.sleep(0)
    return "in time"


@app.task(time_limit=0.02)
async def returning_too_late() -> str:
    try:
        await hold.wait()
    except asyncio.CancelledError:
        return "a value"
    return ""


@app.task(time_limit=0.02)
async def breaking_too_late() -> None:
    try:
        await hold.wait()
    finally:
        raise LookupError("while cleaning up")


@app.task(time_limit=0.02, autoretry_for=(TimeLimitExceeded,), default_retry_delay=0.001)
async def slow_at_first(ctx: Context = CONTEXT) -> int:
    if ctx.request.retries < 2:
        await hold.wait()
    return ctx.request.retries


@app.task(time_limit=0.05)
async def with_children() -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(child())
        await hold.wait()


children: list["asyncio.Task[Any] | None"] = []


async def child() -> None:
    children.append(asyncio.current_task())
    try:
        await hold.wait()
    finally:
        seen.append("child")


async def test_a_job_past_its_time_limit_is_cancelled_and_fails() -> None:
    async with running(app) as worker:
        job = await endless.enqueue()
        failed = await failure(job)

        assert failed.exc_type == HARD
        assert failed.exc_message == (
            "tests.worker.test_time_limits.endless ran longer than its time_limit of 0.02 s"
        )
        assert "await hold.wait()" in failed.traceback, "it says where it was"
        assert seen == ["time limit"]
        assert worker.running == 0
        assert (await job.info()).retries == 0


async def test_a_job_within_its_time_limit_is_not_touched() -> None:
    async with running(app):
        assert await (await within.enqueue()).result(timeout=10) == "in time"


async def test_what_a_job_returns_past_its_time_limit_is_no_success() -> None:
    async with running(app):
        assert (await failure(await returning_too_late.enqueue())).exc_type == HARD


async def test_an_error_in_its_cleaning_up_is_told_beside_the_limit() -> None:
    async with running(app):
        failed = await failure(await breaking_too_late.enqueue())

        assert failed.exc_type == HARD
        assert "LookupError: while cleaning up" in failed.traceback


async def test_a_time_limit_is_retried_where_the_task_says_so() -> None:
    async with running(app):
        job = await slow_at_first.enqueue()

        assert await job.result(timeout=10) == 2


async def test_the_children_of_a_job_are_cancelled_with_it() -> None:
    children.clear()
    async with running(app):
        await failure(await with_children.enqueue())

        assert seen == ["child"] * 3
        assert [each is not None and each.done() for each in children] == [True] * 3


async def test_a_drain_does_not_lengthen_a_limit() -> None:
    async with running(app) as worker:
        job = await endless_for_a_while.enqueue()
        await eventually(lambda: worker.running == 1)
        worker.drain()
        await eventually(lambda: worker.has_left)

        assert (await failure(job)).exc_type == HARD
        assert seen == ["time limit"]


async def test_each_job_has_its_own_deadline() -> None:
    async with running(app):
        slow = [await endless.enqueue() for _ in range(20)]
        quick = [await within.enqueue() for _ in range(20)]

        assert [await job.result(timeout=10) for job in quick] == ["in time"] * 20
        assert [(await failure(job)).exc_type for job in slow] == [HARD] * 20


# The soft limit


@app.task(soft_time_limit=0.02, time_limit=60)
async def cleaning_up(ctx: Context = CONTEXT) -> str:
    try:
        await hold.wait()
    except SoftTimeLimitExceeded:
        seen.append(ctx.cancel_reason)
        await ctx.progress(1, 1)
        return "half of it"
    return ""


@app.task(soft_time_limit=0.02)
async def not_catching() -> None:
    await hold.wait()


@app.task(soft_time_limit=0.02)
async def not_catching_around_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await hold.wait()


@app.task(soft_time_limit=0.02, autoretry_for=(SoftTimeLimitExceeded,), default_retry_delay=0.001)
async def slow_and_soft(ctx: Context = CONTEXT) -> int:
    if ctx.request.retries < 2:
        await hold.wait()
    return ctx.request.retries


@app.task(soft_time_limit=0.02, time_limit=0.5)
async def cleaning_up_for_ever(ctx: Context = CONTEXT) -> None:
    try:
        await hold.wait()
    except SoftTimeLimitExceeded:
        try:
            await hold.wait()
        finally:
            seen.append(ctx.cancel_reason)


async def test_a_task_may_clean_up_at_its_soft_limit_and_succeed() -> None:
    async with running(app):
        job = await cleaning_up.enqueue()

        assert await job.result(timeout=10) == "half of it"
        assert await job.status() is JobState.SUCCESS
        assert seen == [None], "nobody cancels it"


@pytest.mark.parametrize("task", [not_catching, not_catching_around_a_group])
async def test_a_soft_limit_that_nobody_catches_is_a_failure(task: Any) -> None:  # noqa: ANN401
    async with running(app):
        failed = await failure(await task.enqueue())

        assert failed.exc_type == SOFT
        assert f"{task.name} ran longer than its soft_time_limit of 0.02 s" in failed.exc_message
        assert "await hold.wait()" in failed.traceback
        assert await (await within.enqueue()).result(timeout=10) == "in time", "the worker lives"


async def test_a_soft_limit_is_retried_where_the_task_says_so() -> None:
    async with running(app):
        assert await (await slow_and_soft.enqueue()).result(timeout=10) == 2


async def test_the_time_limit_ends_a_cleaning_up_that_takes_too_long() -> None:
    async with running(app):
        assert (await failure(await cleaning_up_for_ever.enqueue())).exc_type == HARD
        assert seen == ["time limit"]


# A coroutine that will not end


@app.task(time_limit=0.02)
async def stubborn(ctx: Context = CONTEXT) -> str:
    while not hold.is_set():
        try:
            await hold.wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
    await ctx.progress(1, 1, "still here")
    return "too late"


async def test_a_stubborn_job_fails_and_gives_its_slot_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aioq.worker.executor.STUBBORN", 0.05)
    caplog.set_level(logging.INFO)
    async with running(app, concurrency=1) as worker:
        job = await stubborn.enqueue()
        assert (await failure(job)).exc_type == HARD
        assert await (await within.enqueue()).result(timeout=10) == "in time", "there is room"
        assert f"Job {job.id} of {stubborn.name} swallows its cancellation (time limit)" in (
            caplog.text
        )
        before = await job.info()
        hold.set()
        await eventually(lambda: "has ended at last" in caplog.text)
        await worker.run_until_idle()

        assert await job.info() == before, "nobody listens to it any more"
        assert "refused" not in caplog.text, "and it says nothing"


# In a thread


@app.task(time_limit=0.02)
def in_a_thread() -> str:
    release.wait(20)
    return "too late"


@app.task(time_limit=60)
def after_it() -> str:
    return "there was a thread"


@app.task(time_limit=1)
def quick_in_a_thread() -> str:
    return "quick"


@app.task(time_limit=1.1)
async def a_bit_longer() -> None:
    await hold.wait()


async def test_a_thread_task_fails_at_its_limit_and_its_thread_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with running(app) as worker:
        job = await in_a_thread.enqueue()
        assert (await failure(job)).exc_type == HARD
        assert worker.running == 0
        assert f"Job {job.id} of {in_a_thread.name} has ended (time limit), but a thread" in (
            caplog.text
        )

        waiting = await after_it.enqueue()

        async def is_received() -> bool:
            return await waiting.status() is JobState.RECEIVED

        await eventually(is_received)  # the one thread is taken, however many jobs have ended
        release.set()
        assert await waiting.result(timeout=10) == "there was a thread"
        await eventually(lambda: "its thread has ended at last" in caplog.text)
        assert await job.status() is JobState.FAILURE


async def test_the_wait_for_a_thread_is_not_counted() -> None:
    async with running(app):
        await failure(await in_a_thread.enqueue())
        waiting = await quick_in_a_thread.enqueue()

        async def is_received() -> bool:
            return await waiting.status() is JobState.RECEIVED

        await eventually(is_received)
        await failure(await a_bit_longer.enqueue())  # after the limit of the job that waits
        release.set()

        assert await waiting.result(timeout=10) == "quick"


# In a process


@app.task(executor="process", time_limit=0.5)
def busy(pids: str) -> None:
    if os.fork() == 0:
        time.sleep(60)  # as a program would that the task has started
        os._exit(0)
    Path(pids).write_text(f"{os.getpid()}", "utf-8")
    while True:
        sum(range(1000))


@app.task(executor="process", time_limit=30)
def in_a_process(x: int) -> int:
    return x * 2


@app.task(executor="process", soft_time_limit=0.1, time_limit=30)
def cleaning_up_in_a_process() -> str:
    try:
        while True:
            sum(range(1000))
    except SoftTimeLimitExceeded:
        return "half of it"


@app.task(executor="process", soft_time_limit=0.1)
def not_catching_in_a_process() -> None:
    while True:
        sum(range(1000))


@app.task(executor="process", soft_time_limit=0.1, time_limit=30)
async def coroutine_in_a_process() -> str:
    try:
        await asyncio.Event().wait()
    except SoftTimeLimitExceeded:
        return "half of it"
    return ""


@app.task(executor="process", soft_time_limit=0.1)
async def coroutine_not_catching() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.Event().wait())


@app.task(executor="process", soft_time_limit=0.3, autoretry_for=(SoftTimeLimitExceeded,),
          default_retry_delay=0.001)  # fmt: skip
def slow_in_a_process(ctx: Context = CONTEXT) -> int:
    while ctx.request.retries < 1:
        sum(range(1000))
    return ctx.request.retries


@app.task(executor="process", soft_time_limit=0.5)
def within_its_soft_limit() -> str:
    return "in time"


@app.task(executor="process")
def sleeping(seconds: float) -> str:
    time.sleep(seconds)
    return "slept well"


def group_is_gone(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return True
    return all(_is_zombie(path) for path in Path("/proc").glob("[0-9]*") if _group(path) == leader)


def _stat(path: Path) -> list[str]:
    try:
        return (path / "stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _group(path: Path) -> int:
    fields = _stat(path)
    return int(fields[2]) if fields else 0


def _is_zombie(path: Path) -> bool:
    return _stat(path)[:1] == ["Z"]


async def test_a_process_past_its_limit_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    async with running(app):
        job = await busy.enqueue(str(pids))
        assert (await failure(job)).exc_type == HARD
        await eventually(lambda: group_is_gone(int(pids.read_text("utf-8"))))

        assert await (await in_a_process.enqueue(21)).result(timeout=30) == 42, "pool refilled"


async def test_the_start_of_a_process_is_not_counted() -> None:
    """Else a task whose imports take longer than its limit would never run at all."""
    async with running(slow_to_import.app):
        assert await (await slow_to_import.quick.enqueue()).result(timeout=30) == "quick"


@pytest.mark.parametrize("task", [cleaning_up_in_a_process, coroutine_in_a_process])
async def test_a_process_task_may_clean_up_at_its_soft_limit(task: Any) -> None:  # noqa: ANN401
    async with running(app):
        assert await (await task.enqueue()).result(timeout=30) == "half of it"


@pytest.mark.parametrize("task", [not_catching_in_a_process, coroutine_not_catching])
async def test_a_soft_limit_in_a_process_is_a_failure_and_harms_no_successor(
    task: Any,  # noqa: ANN401
) -> None:
    async with running(app):
        failed = await failure(await task.enqueue())

        assert failed.exc_type == SOFT
        assert f"{task.name} ran longer than its soft_time_limit of 0.1 s" in failed.exc_message
        job = await sleeping.enqueue(0.3)
        assert await job.result(timeout=30) == "slept well"
        assert (await job.info()).crashes == 0


async def test_an_alarm_that_was_not_needed_does_not_ring_in_the_next_job() -> None:
    async with running(app):
        assert await (await within_its_soft_limit.enqueue()).result(timeout=30) == "in time"
        job = await sleeping.enqueue(0.7)

        assert await job.result(timeout=30) == "slept well"
        assert (await job.info()).crashes == 0, "it would have killed the process"


async def test_a_soft_limit_in_a_process_is_retried_where_the_task_says_so() -> None:
    async with running(app):
        assert await (await slow_in_a_process.enqueue()).result(timeout=30) == 1


async def test_a_revoked_process_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    patient = Aioq(name="patient", settings=Settings(process_workers=1))
    task = patient.task(executor="process", name="patient.busy")(busy.function)
    async with running(patient):
        job = await task.enqueue(str(pids))
        await eventually(lambda: pids.exists() and pids.read_text("utf-8"), seconds=30)
        assert await job.revoke()
        await eventually(job.ready)

        assert await job.status() is JobState.REVOKED
        await eventually(lambda: group_is_gone(int(pids.read_text("utf-8"))))
