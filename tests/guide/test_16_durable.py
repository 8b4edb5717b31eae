"""Durable tasks: steps that run once, and waits that keep no worker."""

import asyncio
from datetime import UTC, datetime

from aioq import CONTEXT, Aioq, Context, JobState, TaskFailed
from aioq.testing import running
from tests.eventually import eventually

app = Aioq()
journal: list[str] = []


async def charge(amount: int) -> str:
    journal.append(f"charge {amount}")
    return f"receipt for {amount}"


@app.task(autoretry_for=(ConnectionError,), default_retry_delay=0)
async def buy(amount: int, ctx: Context = CONTEXT) -> str:
    journal.append("begin")
    receipt = await ctx.step("charge", charge, amount)
    if ctx.request.retries == 0:
        raise ConnectionError("the shop does not answer")
    return receipt


async def test_a_step_that_is_done_is_not_done_again_by_a_retry() -> None:
    journal.clear()
    async with running(app):
        job = await buy.enqueue(20)

        assert await job.result(timeout=10) == "receipt for 20"
    assert journal == ["begin", "charge 20", "begin"]


@app.task
async def nap(seconds: float, ctx: Context = CONTEXT) -> int:
    await ctx.sleep(seconds)
    return ctx.request.deliveries


async def test_a_sleep_ends_the_run_and_a_new_one_begins_when_it_is_over() -> None:
    async with running(app):
        job = await nap.enqueue(0.1)

        assert await job.result(timeout=10) == 2
        assert (await job.info()).retries == 0


async def test_while_a_job_sleeps_its_worker_has_room_for_others() -> None:
    async with running(app, concurrency=1):
        asleep = await nap.enqueue(3600)
        await eventually(lambda: has_been_suspended(asleep.id))

        assert await asleep.status() is JobState.PENDING
        due_at = (await asleep.info()).due_at
        assert due_at is not None
        assert due_at > datetime.now(UTC)
        await (await nap.enqueue(0)).result(timeout=10)
        assert await asleep.revoke()


async def has_been_suspended(job_id: str) -> bool:
    info = await app.job(job_id).info()
    return info.deliveries == 1 and info.state is JobState.PENDING


@app.task
async def deliver(order: str, ctx: Context = CONTEXT) -> str:
    try:
        paid_by = await ctx.wait_event("paid", timeout=3600)
    except TimeoutError:
        return f"{order} is cancelled"
    return f"{order} is paid by {paid_by}"


async def test_a_job_waits_for_an_event() -> None:
    async with running(app):
        job = await deliver.enqueue("A1")
        await eventually(lambda: has_been_suspended(job.id))

        assert await app.send_event("paid", "card") == 1
        assert await job.result(timeout=10) == "A1 is paid by card"


async def test_an_event_may_be_for_one_job_alone_and_come_early() -> None:
    async with running(app):
        first, second = await deliver.enqueue("A1"), await deliver.enqueue("A2")
        await app.send_event("paid", "cash", job_id=second.id)

        assert await second.result(timeout=10) == "A2 is paid by cash"
        assert not await first.ready()
        await first.revoke()


@app.task
async def pack(item: str) -> str:
    if item == "nothing":
        raise ValueError("there is nothing to pack")
    return f"a box with {item}"


@app.task
async def ship(items: list[str], ctx: Context = CONTEXT) -> list[str]:
    async with ctx.group() as group:
        boxes = [group.start(pack.s(item)) for item in items]
    return await ctx.wait(boxes)


async def test_a_job_starts_others_and_waits_for_them_without_a_slot() -> None:
    async with running(app, concurrency=1):
        job = await ship.enqueue(["a lamp", "a chair"])

        assert await job.result(timeout=10) == ["a box with a lamp", "a box with a chair"]
        assert await app.job(f"{job.id}.1").result() == "a box with a lamp"


async def test_a_child_that_fails_fails_where_it_is_waited_for() -> None:
    async with running(app):
        job = await ship.enqueue(["a lamp", "nothing"])
        try:
            await job.result(timeout=10)
        except TaskFailed as error:
            assert error.exc_type == "aioq.core.errors.TaskFailed"
            assert "there is nothing to pack" in error.exc_message


@app.task
async def forgetful(ctx: Context = CONTEXT) -> None:
    if ctx.request.deliveries == 1:
        await ctx.step("only-now", charge, 1)
    await ctx.sleep(0.01)


async def test_a_run_that_does_something_else_than_the_one_before_fails() -> None:
    async with running(app):
        job = await forgetful.enqueue()
        await eventually(job.ready)
        info = await job.info()

        assert info.error is not None
        assert info.error.exc_type == "aioq.core.errors.NonDeterministic"
        assert "'only-now'" in info.error.exc_message


async def test_branches_may_wait_side_by_side() -> None:
    async with running(app):
        job = await both.enqueue()

        assert await job.result(timeout=10) == ["receipt for 1", "receipt for 2"]


@app.task
async def both(ctx: Context = CONTEXT) -> list[str]:
    async def branch(number: int) -> str:
        await ctx.sleep(0.01 * number, name=f"sleep-{number}")
        return await ctx.step(f"charge-{number}", charge, number)

    async with asyncio.TaskGroup() as group:
        branches = [group.create_task(branch(number)) for number in (1, 2)]
    return [each.result() for each in branches]
