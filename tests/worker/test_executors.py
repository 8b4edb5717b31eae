"""Threads and processes."""

import asyncio
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aioq import (
    CONTEXT,
    Aioq,
    ConfigurationError,
    Context,
    JobState,
    Retry,
    Settings,
    TaskFailed,
)
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


class Picky(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


@app.task(executor="process", autoretry_for=(Picky,), max_retries=1, default_retry_delay=0.001)
def failing_pickily() -> None:
    raise Picky(503, reason="busy")


@app.task(executor="process", bind=True, max_retries=1)
def asking_in_a_process(self: Context, what: str) -> int:
    if self.request.deliveries == 1:
        if what == "retry":
            self.retry(exc=Picky(503, reason="busy"), countdown=0.001)
        if what == "snooze":
            self.snooze(0.001)
        if what == "raise":
            raise Retry(countdown=0.001)
        if what == "group":
            raise ExceptionGroup("of a task group", [Retry(Picky(503, reason="busy"), countdown=0)])
        self.reject("not for us")
    return self.request.retries


@app.task(executor="process", ignore_result=True)
def unserialisable_in_a_process() -> object:
    return object()


@app.task(executor="process", max_crashes=1)
def dying(how: str) -> None:
    if how == "exit":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSEGV)


@app.task(executor="process")
def dying_once(ctx: Context = CONTEXT) -> int:
    if ctx.request.deliveries == 1:
        os._exit(9)
    return ctx.request.retries


@app.task(executor="process", acks_late=False)
def dying_at_most_once() -> None:
    os._exit(9)


@app.task(executor="process", max_crashes=1)
def leaving_a_fork_behind() -> None:
    if os.fork() == 0:  # it holds on to all that its parent had open
        time.sleep(60)
    os._exit(3)


@app.task(executor="process")
def telling_its_pid(path: str, until: str) -> str:
    Path(path).write_text(str(os.getpid()), "utf-8")
    while not Path(until).exists():
        time.sleep(0.005)
    return "undisturbed"


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


async def test_an_error_that_cannot_be_unpickled_is_retried_by_its_class() -> None:
    async with running(app):
        job = await failing_pickily.enqueue()
        with pytest.raises(TaskFailed, match="503: busy") as caught:
            await job.result(timeout=30)

        assert caught.value.exc_type == "tests.worker.test_executors.Picky"
        assert (await job.info()).retries == 1


@pytest.mark.parametrize(
    ("what", "retries"), [("retry", 1), ("raise", 1), ("group", 1), ("snooze", 0)]
)
async def test_a_process_task_asks_to_be_run_again(what: str, retries: int) -> None:
    async with running(app):
        assert await (await asking_in_a_process.enqueue(what)).result(timeout=30) == retries


async def test_a_process_task_rejects_its_job() -> None:
    async with running(app):
        with pytest.raises(TaskFailed, match="not for us"):
            await (await asking_in_a_process.enqueue("reject")).result(timeout=30)


async def test_a_result_that_nobody_wants_need_not_be_serialisable() -> None:
    async with running(app):
        assert await (await unserialisable_in_a_process.enqueue()).result(timeout=30) is None


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "it exited with code 9"),
        ("kill", r"it was killed by SIGKILL \(out of memory\?\)"),
        ("crash", "it was killed by SIGSEGV"),
    ],
)
async def test_a_process_that_dies_fails_its_job_and_no_other(how: str, said: str) -> None:
    async with running(app) as worker:
        dead = await dying.enqueue(how)
        alive = await coroutine_in_a_process.enqueue(1)
        with pytest.raises(TaskFailed, match=f"died: {said}") as caught:
            await dead.result(timeout=30)

        assert caught.value.exc_type == "aioq.core.errors.WorkerLost"
        info = await dead.info()
        assert (info.crashes, info.retries) == (1, 0)
        assert await alive.result(timeout=30) == 2
        await worker.run_until_idle()


async def test_the_first_death_of_a_process_is_forgiven() -> None:
    async with running(app):
        job = await dying_once.enqueue()

        assert await job.result(timeout=30) == 0
        assert (await job.info()).deliveries == 2


async def test_at_most_once_a_death_is_the_end() -> None:
    async with running(app):
        job = await dying_at_most_once.enqueue()
        with pytest.raises(TaskFailed) as caught:
            await job.result(timeout=30)

        assert caught.value.exc_type == "aioq.core.errors.WorkerLost"
        assert (await job.info()).deliveries == 1


async def test_a_death_is_noticed_although_a_fork_of_the_process_lives_on() -> None:
    async with running(app):
        with pytest.raises(TaskFailed, match="exited with code 3"):
            await (await leaving_a_fork_behind.enqueue()).result(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_that_reach_every_process_end_no_job(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C, and a service manager that stops a service: the worker drains, its jobs go on."""
    pid, until = tmp_path / "pid", tmp_path / "until"
    async with running(app):
        job = await telling_its_pid.enqueue(str(pid), str(until))
        await eventually(lambda: pid.exists() and pid.read_text("utf-8"), seconds=30)
        os.kill(int(pid.read_text("utf-8")), number)
        until.touch()

        assert await job.result(timeout=30) == "undisturbed"


async def test_a_job_for_which_no_process_starts_is_given_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(app):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            job = await coroutine_in_a_process.enqueue(21)
            await eventually(lambda: "is given back: no process starts" in caplog.text)

        assert await job.result(timeout=30) == 42
        info = await job.info()
        assert (info.retries, info.crashes) == (0, 0)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_process_does_not_outlive_its_worker(tmp_path: Path) -> None:
    """However the worker dies: else its job would run twice at the same time."""
    pid, never = tmp_path / "pid", tmp_path / "never"
    program = f"""
import asyncio
from aioq.testing import running
from tests.worker.test_executors import app, telling_its_pid

async def main():
    async with running(app):
        await (await telling_its_pid.enqueue({str(pid)!r}, {str(never)!r})).result()

asyncio.run(main())
"""
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    await eventually(lambda: pid.exists() and pid.read_text("utf-8"), seconds=30)
    child = int(pid.read_text("utf-8"))
    assert is_alive(child)
    worker.kill()
    await worker.wait()

    await eventually(lambda: not is_alive(child))


async def test_idle_processes_end_with_their_worker() -> None:
    async with running(app):
        pid, _, _ = await (await in_a_process.enqueue(datetime(2030, 1, 1, tzinfo=UTC))).result(30)
        assert is_alive(pid)

    assert not is_alive(pid)


async def test_a_process_is_used_again() -> None:
    async with running(app, concurrency=1):
        when = datetime(2030, 1, 1, tzinfo=UTC)
        pids = {(await (await in_a_process.enqueue(when)).result(30))[0] for _ in range(3)}

        assert len(pids) == 1


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
