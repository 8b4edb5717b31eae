"""Ending jobs on request: wherever they are, recorded first, and told to whoever runs them."""

import asyncio
import threading
from typing import Any

import pytest

from aioq import CONTEXT, Aioq, Context, Job, JobNotFound, JobState, Revoked, Settings
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq(settings=Settings(lease=1, grace=0.1))
hold: asyncio.Event
seen: list[str | None] = []
go_on = threading.Event()


@pytest.fixture(autouse=True)
async def nobody_is_let_go() -> None:
    global hold
    hold = asyncio.Event()
    seen.clear()
    go_on.clear()


@app.task
async def held(ctx: Context = CONTEXT) -> str:
    try:
        await hold.wait()
    except asyncio.CancelledError:
        seen.append(ctx.cancel_reason)
        raise
    return "done"


@app.task
async def stubborn() -> str:
    try:
        await hold.wait()
    except asyncio.CancelledError:
        await hold.wait()
    return "done all the same"


@app.task(max_retries=5)
async def failing() -> None:
    await hold.wait()
    raise ValueError("never mind")


@app.task(autoretry_for=(ValueError,), default_retry_delay=3600)
async def retried() -> None:
    raise ValueError("again")


@app.task
def in_a_thread() -> str:
    go_on.wait(10)
    return "done"


@app.task
async def quick() -> int:
    return 1


async def runs(worker: Worker) -> None:
    await eventually(lambda: worker.running == 1)


async def is_revoked(job: Job[Any]) -> None:
    with pytest.raises(Revoked, match="was revoked: on request"):
        await job.result(timeout=10)


async def test_a_running_job_is_cancelled_and_told_why() -> None:
    async with running(app) as worker:
        job = await held.enqueue()
        await runs(worker)

        assert await job.revoke()
        await is_revoked(job)
        assert seen == ["revoked"]
        assert await job.status() is JobState.REVOKED


async def test_a_queued_job_never_starts() -> None:
    async with running(app, concurrency=1) as worker:
        first = await held.enqueue()
        await runs(worker)
        second = await quick.enqueue()

        assert await second.revoke()
        await is_revoked(second)
        hold.set()
        assert await first.result(timeout=10) == "done"
        assert (await second.info()).started_at is None


async def test_a_delayed_job_and_one_that_waits_for_a_retry_never_start() -> None:
    async with running(app):
        delayed = await quick.options(countdown=3600).enqueue()
        waiting = await retried.enqueue()

        async def has_failed_once() -> bool:
            return await waiting.status() is JobState.RETRY

        await eventually(has_failed_once)
        for job in (delayed, waiting):
            assert await job.revoke()
            await is_revoked(job)
            assert (await job.info()).error is None


async def test_a_job_that_goes_on_all_the_same_ends_as_revoked() -> None:
    async with running(app) as worker:
        job = await stubborn.enqueue()
        await runs(worker)
        assert await job.revoke()
        assert not (await job.status()).is_final
        hold.set()

        await is_revoked(job)


async def test_terminate_ends_the_job_now_whatever_its_task_does() -> None:
    async with running(app) as worker:
        job = await stubborn.enqueue()
        await runs(worker)

        assert await job.revoke(terminate=True)
        await is_revoked(job)
        hold.set()
        await eventually(lambda: worker.running == 0)
        assert await job.status() is JobState.REVOKED


async def test_a_thread_goes_on_but_its_job_ends() -> None:
    async with running(app) as worker:
        job = await in_a_thread.enqueue()
        await runs(worker)

        assert await job.revoke()
        await is_revoked(job)
        go_on.set()


async def test_an_error_after_the_revoke_is_not_retried() -> None:
    async with running(app) as worker:
        job = await failing.enqueue()
        await runs(worker)
        # As if the push was lost: the mark alone decides.
        broker = app.client.broker()
        await broker.command("HSET", f"{broker.keys.prefix}j:{job.id}", "c", "3600000")
        hold.set()

        await is_revoked(job)


async def test_a_lost_push_is_made_good_by_the_next_beat() -> None:
    async with running(app) as worker:
        job = await held.enqueue()
        await runs(worker)
        broker = app.client.broker()
        key = f"{broker.keys.prefix}j:{job.id}"
        [token] = await broker.command("HMGET", key, "i")
        await broker.command("HSET", key, "c", "3600000")
        missed = f"{broker.keys.prefix}cx:{worker.identity.name}"
        await broker.command("SADD", missed, f"{token.decode()} {job.id}")

        await is_revoked(job)
        assert seen == ["revoked"]


async def test_the_worker_listens_again_after_its_subscription_was_lost() -> None:
    async with running(app) as worker:
        broker = app.client.broker()
        await broker.command("CLIENT", "KILL", "TYPE", "pubsub")
        channel = broker.keys.orders(worker.identity.name)

        async def listens() -> bool:
            return (await broker.command("PUBSUB", "NUMSUB", channel))[1] == 1

        await eventually(listens)
        job = await held.enqueue()
        await runs(worker)
        assert await job.revoke()
        await is_revoked(job)


async def test_an_ended_or_unknown_job_is_not_touched_and_nothing_is_left() -> None:
    async with running(app):
        job = await quick.enqueue()
        assert await job.result(timeout=10) == 1
        broker = app.client.broker()
        before = sorted(await broker.command("KEYS", "*"))

        assert not await job.revoke()
        assert not await job.revoke(terminate=True)
        assert not await app.job("nobody-knows-it").revoke()
        assert await job.result() == 1
        assert sorted(await broker.command("KEYS", "*")) == before
        with pytest.raises(JobNotFound):
            await app.job("nobody-knows-it").status()


async def test_revoking_twice_says_the_same_while_the_job_runs() -> None:
    async with running(app) as worker:
        job = await stubborn.enqueue()
        await runs(worker)
        assert (await job.revoke(), await job.revoke()) == (True, True)
        hold.set()
        await is_revoked(job)
        assert not await job.revoke()


async def test_sync_code_can_revoke() -> None:
    async with running(app) as worker:
        job = await held.enqueue()
        await runs(worker)

        assert await asyncio.to_thread(job.revoke_sync)
        await is_revoked(job)


async def test_a_revoked_job_is_not_given_back_by_a_drain() -> None:
    async with running(app) as worker:
        url = worker.url
        job = await stubborn.enqueue()
        await runs(worker)
        await job.revoke()
        worker.drain()
        await asyncio.sleep(0)
        hold.set()
        await eventually(lambda: worker.has_left)
        async with running(app, url=url) as other:
            await other.run_until_idle()
            await is_revoked(job)
