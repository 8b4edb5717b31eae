"""The end of every job, however it comes: handed on once, or not at all, and its slot is free."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from aioq import CONTEXT, Aioq, Context, Settings, SoftTimeLimitExceeded, TimeLimitExceeded
from aioq.broker.scripts import Delivery
from aioq.core import codec
from aioq.core.outcome import Buried, Completed, GivenBack, Outcome, Retried
from aioq.tasks import Task
from aioq.worker.executor import Executor
from aioq.worker.runners import Processes, Threads
from tests.broker.place import Place
from tests.eventually import eventually

app = Aioq(settings=Settings(threads=1, process_workers=1))
hold: asyncio.Event
seen: list[str | None]
release: threading.Event


class NoOrdinaryError(BaseException): ...


@app.task
async def held(ctx: Context = CONTEXT) -> str:
    try:
        await hold.wait()
    except asyncio.CancelledError:
        seen.append(ctx.cancel_reason)
        raise
    return "done"


@app.task(acks_late=False)
async def at_most_once() -> None:
    await hold.wait()


@app.task
async def stubborn(ctx: Context = CONTEXT) -> str:
    while not hold.is_set():
        try:
            await hold.wait()
        except asyncio.CancelledError:
            seen.append(ctx.cancel_reason)
    await ctx.progress(1, 1)
    return "done all the same"


@app.task(time_limit=0.01, max_retries=1, autoretry_for=(TimeLimitExceeded,))
async def stubborn_and_limited() -> str:
    while not hold.is_set():
        try:
            await hold.wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
    return "too late"


@app.task(time_limit=0.01)
async def slow_to_clean_up() -> None:
    try:
        await hold.wait()
    finally:
        seen.append("cleaning up")
        await hold.wait()


@app.task(acks_late=False)
async def stubborn_and_at_most_once() -> None:
    while not hold.is_set():
        try:
            await hold.wait()
        except asyncio.CancelledError:
            seen.append("cancelled")


@app.task
async def answering() -> str:
    try:
        await hold.wait()
    except asyncio.CancelledError:
        return "had done it already"
    return ""


@app.task(autoretry_for=(Exception,))
async def breaking() -> None:
    try:
        await hold.wait()
    finally:
        raise ConnectionError("torn down")


@app.task
async def asking(ctx: Context = CONTEXT) -> None:
    try:
        await hold.wait()
    except asyncio.CancelledError:
        ctx.retry(countdown=60)


@app.task
async def unusual() -> None:
    raise NoOrdinaryError("no Exception")


@app.task
async def unusual_group() -> None:
    raise BaseExceptionGroup("two", [NoOrdinaryError(), ValueError()])


@app.task
def in_the_thread() -> None:
    release.wait(10)


@app.task(acks_late=False)
def in_the_thread_at_most_once() -> None:
    release.wait(10)


class Bench:
    """An executor, and what it has handed on."""

    def __init__(self) -> None:
        self.settled: list[tuple[bytes, Outcome]] = []
        self.ended: list[bytes] = []
        self.executor = Executor(
            app,
            app.client.broker(),
            lambda delivery, outcome: self.settled.append((delivery.job_id, outcome)),
            concurrency=2,
            threads=Threads(1),
            processes=Processes(1),
        )
        self.executor.prepare(app.tasks)
        self.executor.on_ended = lambda delivery: self.ended.append(delivery.job_id)

    def start(self, task: Task[..., Any], job_id: bytes = b"a", retries: int = 0) -> None:
        payload = codec.encode_payload((), {}, None, task=task.name)
        entry_id = job_id + b"-1"
        delivery = Delivery(entry_id, job_id, task.name.encode(), 0, retries, 1, 0, payload)
        self.executor.start(delivery, "default")

    @property
    def outcome(self) -> Outcome:
        """What was handed on of the only job."""
        assert len(self.settled) == 1
        return self.settled[0][1]

    def error(self) -> str:
        outcome = self.outcome
        assert isinstance(outcome, (Buried, Retried))
        return codec.decode_error(outcome.error).exc_type

    async def begun(self) -> None:
        """Let the jobs come to where they wait."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def idle(self) -> None:
        await eventually(lambda: self.executor.count == 0)

    async def leave(self, grace: float = 0) -> None:
        """End as a worker that drains does."""
        self.executor.grace = grace
        async with self.executor:
            pass


current: Bench


@pytest.fixture(autouse=True)
async def bench(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    global hold, seen, release, current
    hold, seen, release = asyncio.Event(), [], threading.Event()
    monkeypatch.setattr("aioq.worker.executor.STUBBORN", 0.05)
    with app.connected_to(place.url):
        made = current = Bench()
        yield made
        hold.set()
        release.set()
        await made.leave()
        await eventually(lambda: made.executor.abandoned == 0)
        await app.aclose()


# Ends without a cancellation


@pytest.mark.parametrize("task", [unusual, unusual_group])
async def test_whatever_a_task_raises_is_an_outcome(bench: Bench, task: Task[..., Any]) -> None:
    bench.start(task)
    await bench.idle()

    assert isinstance(bench.outcome, Buried)
    assert bench.ended == [b"a"]


async def test_a_job_that_ends_is_reported_once(bench: Bench) -> None:
    bench.start(held)
    await bench.begun()
    assert bench.executor.held() == [b"a-1 a"]
    hold.set()
    await bench.idle()

    assert isinstance(bench.outcome, Completed)
    assert (bench.ended, bench.executor.held()) == ([b"a"], [])


# Leaving


async def test_a_job_cancelled_before_its_first_step_is_given_back(bench: Bench) -> None:
    """Its coroutine never runs, so nothing inside it could have settled it."""
    with suppress(EOFError):
        async with bench.executor:
            bench.start(held)
            raise EOFError

    assert bench.outcome == GivenBack()
    assert seen == []


@pytest.mark.parametrize("task", [held, breaking])
async def test_a_shutdown_uses_no_retry(bench: Bench, task: Task[..., Any]) -> None:
    """Also where the task turns its cancellation into another error, as clients of sockets do."""
    bench.start(task)
    await bench.begun()
    await bench.leave()

    assert bench.outcome == GivenBack()


async def test_a_value_that_is_returned_at_a_shutdown_counts(bench: Bench) -> None:
    bench.start(answering)
    await bench.begun()
    await bench.leave()

    assert isinstance(bench.outcome, Completed)


async def test_a_retry_that_is_asked_for_at_a_shutdown_is_granted(bench: Bench) -> None:
    bench.start(asking)
    await bench.begun()
    await bench.leave()

    assert isinstance(bench.outcome, Retried)
    assert bench.outcome.delay == "+60000"


@pytest.mark.parametrize("task", [at_most_once, in_the_thread_at_most_once])
async def test_at_most_once_an_interrupted_job_fails(bench: Bench, task: Task[..., Any]) -> None:
    bench.start(task)
    await bench.begun()
    await bench.leave()

    assert isinstance(bench.outcome, Buried)
    assert bench.error() == "aioq.core.errors.WorkerLost"


async def test_at_most_once_a_job_that_has_not_started_is_given_back(bench: Bench) -> None:
    bench.start(in_the_thread, b"a")
    await bench.begun()
    bench.start(in_the_thread_at_most_once, b"b")
    await bench.begun()
    await bench.leave()

    assert dict(bench.settled) == {b"a": GivenBack(), b"b": GivenBack()}


async def test_a_stubborn_job_does_not_hold_the_worker_for_ever(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start(stubborn, b"a")
    bench.start(stubborn_and_at_most_once, b"b")
    await bench.begun()
    await bench.leave()

    outcomes = dict(bench.settled)
    assert outcomes[b"a"] == GivenBack()
    assert isinstance(outcomes[b"b"], Buried)
    assert "Leaving without 2 jobs that do not end." in caplog.text
    hold.set()
    await eventually(lambda: bench.executor.abandoned == 0)
    assert len(bench.settled) == 2


async def test_a_job_that_cleans_up_after_its_limit_is_not_disturbed_by_the_shutdown(
    bench: Bench,
) -> None:
    bench.start(slow_to_clean_up)
    await eventually(lambda: seen)
    await bench.leave()

    assert seen == ["cleaning up"]
    assert bench.error() == "aioq.core.errors.TimeLimitExceeded"


async def test_an_abandoned_job_is_cancelled_once_more_when_the_worker_leaves(
    bench: Bench,
) -> None:
    bench.start(slow_to_clean_up)
    await bench.idle()
    assert bench.executor.abandoned == 1
    await bench.leave()

    await eventually(lambda: bench.executor.abandoned == 0)
    assert not hold.is_set()
    assert len(bench.settled) == 1


# Revoking


async def test_a_revoked_job_is_cancelled_and_given_back(bench: Bench) -> None:
    """The server makes REVOKED of it, as the revoke is recorded there."""
    bench.start(held)
    await bench.begun()

    assert bench.executor.revoke(b"a")
    await bench.idle()
    assert (bench.outcome, seen) == (GivenBack(), ["revoked"])
    assert not bench.executor.revoke(b"a")


async def test_only_the_delivery_that_is_meant_is_revoked(bench: Bench) -> None:
    bench.start(held)
    await bench.begun()

    assert not bench.executor.revoke(b"b")
    assert not bench.executor.revoke(b"a", b"another-1")
    assert bench.executor.revoke(b"a", b"a-1")
    await bench.idle()


async def test_revoking_twice_cancels_once(bench: Bench) -> None:
    bench.start(stubborn)
    await bench.begun()
    assert (bench.executor.revoke(b"a"), bench.executor.revoke(b"a")) == (True, True)
    await bench.idle()

    assert seen == ["revoked"]


async def test_a_revoke_before_the_first_step_is_one_too(bench: Bench) -> None:
    bench.start(held)

    assert bench.executor.revoke(b"a")
    await bench.idle()
    assert bench.outcome == GivenBack()


async def test_a_value_that_is_returned_after_a_revoke_is_handed_on(bench: Bench) -> None:
    bench.start(answering)
    await bench.begun()
    bench.executor.revoke(b"a")
    await bench.idle()

    assert isinstance(bench.outcome, Completed)


async def test_a_thread_that_is_revoked_ends_its_job_and_keeps_its_slot(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.start(in_the_thread)
    await bench.begun()
    bench.executor.revoke(b"a")
    await bench.idle()

    assert bench.outcome == GivenBack()
    assert bench.executor._threads.busy == 1  # pyright: ignore[reportPrivateUsage]
    assert "has ended (revoked), but a thread cannot be stopped" in caplog.text
    assert "in in_the_thread" in caplog.text
    release.set()
    await eventually(lambda: "its thread has ended at last" in caplog.text)
    assert bench.executor._threads.busy == 0  # pyright: ignore[reportPrivateUsage]


# The lost lease


async def test_nothing_is_settled_of_what_ran_when_the_lease_was_lost(bench: Bench) -> None:
    bench.start(held, b"a")
    bench.start(answering, b"b")
    await bench.begun()
    bench.executor.lose()
    assert bench.executor.held() == []
    assert not bench.executor.revoke(b"a"), "it is not ours any more"
    await bench.idle()

    assert (bench.settled, seen) == ([], ["lease lost"])
    assert sorted(bench.ended) == [b"a", b"b"]


async def test_nothing_is_settled_of_what_had_not_made_its_first_step(bench: Bench) -> None:
    bench.start(held)
    bench.executor.lose()
    await bench.idle()

    assert bench.settled == []


async def test_what_starts_afterwards_is_not_touched(bench: Bench) -> None:
    bench.start(held, b"a")
    await bench.begun()
    bench.executor.lose()
    bench.start(held, b"b")
    await bench.begun()
    assert bench.executor.held() == [b"b-1 b"]
    hold.set()
    await bench.idle()

    assert [job_id for job_id, _ in bench.settled] == [b"b"]


def by_a_revoke(bench: Bench) -> None:
    bench.executor.revoke(b"a")


def by_nobody(bench: Bench) -> None: ...


@pytest.mark.parametrize("before", [by_nobody, by_a_revoke])
async def test_a_stubborn_job_of_a_lost_lease_is_abandoned_unsettled(
    bench: Bench, before: Callable[[Bench], None]
) -> None:
    bench.start(stubborn)
    await bench.begun()
    before(bench)
    bench.executor.lose()
    await bench.idle()

    assert bench.executor.abandoned == 1
    hold.set()
    await eventually(lambda: bench.executor.abandoned == 0)
    assert bench.settled == []


# Abandoning


async def test_a_stubborn_job_is_settled_named_and_its_slot_given_back(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.start(stubborn, b"a")
    bench.start(held, b"b")
    await bench.begun()
    assert bench.executor.room == 0
    bench.executor.revoke(b"a")
    await asyncio.wait_for(bench.executor.wait_for_room(), 10)

    assert bench.settled == [(b"a", GivenBack())]
    assert (bench.executor.room, bench.ended, bench.executor.held()) == (1, [b"a"], [b"b-1 b"])
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert "Job a of tests.worker.test_executor.stubborn swallows its cancellation" in said[0]
    assert f"{__file__}:" in said[0]
    assert "in stubborn" in said[0]
    assert seen == ["revoked"], "cancelled once, so that a long cleaning up is not disturbed"

    hold.set()
    await eventually(lambda: bench.executor.abandoned == 0)
    assert [job_id for job_id, _ in bench.settled] == [b"a", b"b"]
    assert bench.ended == [b"a", b"b"]
    assert "Job a of tests.worker.test_executor.stubborn has ended at last." in caplog.text


async def test_a_job_that_ends_at_the_last_moment_is_not_abandoned(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start(ending)
    await bench.idle()

    assert isinstance(bench.outcome, Completed)
    assert (bench.ended, caplog.text) == ([b"a"], "")


@app.task
async def ending() -> None:
    """Have its time run out between its last step and the moment the event loop tells of it."""
    job = asyncio.current_task()
    assert job is not None
    asyncio.get_running_loop().call_soon(current.executor._abandon, job)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("retries", "kind"), [(0, Retried), (1, Buried)])
async def test_a_stubborn_job_past_its_time_limit_fails_as_any_other(
    bench: Bench, retries: int, kind: type[Outcome]
) -> None:
    bench.start(stubborn_and_limited, retries=retries)
    await bench.idle()

    assert isinstance(bench.outcome, kind)
    assert bench.error() == "aioq.core.errors.TimeLimitExceeded"
    hold.set()
    await eventually(lambda: bench.executor.abandoned == 0)
    assert len(bench.settled) == 1


# Soft limits and what they become


@app.task(soft_time_limit=0.01, max_retries=1, autoretry_for=(SoftTimeLimitExceeded,))
async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(hold.wait())
        await hold.wait()


@pytest.mark.parametrize(("retries", "kind"), [(0, Retried), (1, Buried)])
async def test_a_soft_limit_is_judged_by_its_own_class_whatever_is_around_it(
    bench: Bench, retries: int, kind: type[Outcome]
) -> None:
    bench.start(grouped, retries=retries)
    await bench.idle()

    assert isinstance(bench.outcome, kind)
    assert bench.error() == "aioq.core.errors.SoftTimeLimitExceeded"


@app.task(time_limit=60, soft_time_limit=30)
async def limited() -> int:
    await asyncio.sleep(0)
    return 1


async def test_jobs_that_end_in_time_take_their_deadlines_back(bench: Bench) -> None:
    for _ in range(10):
        bench.start(limited)
    await bench.idle()

    assert all(isinstance(outcome, Completed) for _, outcome in bench.settled)
    assert len(bench.executor._deadlines) == 0  # pyright: ignore[reportPrivateUsage]
