"""Unique jobs with real workers: whatever happens to a job, its key is held once, and then free."""

import asyncio
import os
import random
import signal
from collections import Counter

import pytest

from aioq import CONTEXT, Aioq, Context, Job, Revoked, Settings, TaskFailed, Unique, every
from aioq.testing import running
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

app = Aioq(settings=Settings(process_workers=1))
now_running: Counter[object] = Counter()
most: Counter[object] = Counter()
ran: list[object] = []
door: asyncio.Event


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    global door
    door = asyncio.Event()
    for each in (now_running, most, ran):
        each.clear()


def first(key: object, **_: object) -> int:
    return int(str(key))


@app.task(unique=Unique(key=first), max_retries=2, default_retry_delay=0, retry_jitter=False)
async def step(key: int, how: str = "", ctx: Context = CONTEXT) -> int:
    now_running[key] += 1
    most[key] = max(most[key], now_running[key])
    try:
        await asyncio.sleep(random.random() / 500)
        if how == "retry" and ctx.request.retries == 0:
            ctx.retry(countdown=0.001)
        if how == "fail":
            raise ValueError(how)
    finally:
        now_running[key] -= 1
    return key


@app.task(unique=True)
async def wait(key: int) -> int:
    ran.append(key)
    await door.wait()
    return key


@app.task(unique=Unique(on_conflict="debounce"))
async def late(key: int) -> int:
    ran.append(key)
    return key


@app.task(unique=True, time_limit=0.05, max_retries=0)
async def slow() -> None:
    await asyncio.sleep(60)


@app.task(unique=True, executor="process", max_crashes=2)
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(unique=True, max_concurrency=1)
async def narrow(key: int) -> int:
    ran.append(key)
    await door.wait()
    return key


@app.task(unique=True)
async def tick() -> None:
    ran.append("tick")
    await door.wait()


async def test_no_two_jobs_of_a_key_ever_run_at_once_across_workers_and_producers() -> None:
    async with running(app, concurrency=20) as worker, running(app, url=worker.url):

        async def produce(seed: int) -> list[Job[int]]:
            dice = random.Random(seed)
            ends: list[Job[int]] = []
            for _ in range(40):
                job = await step.enqueue(dice.randrange(3), dice.choice(["", "retry", "fail"]))
                if dice.random() < 0.2:
                    await job.revoke()
                ends.append(job)
                if dice.random() < 0.5:
                    await asyncio.gather(job.result(timeout=20), return_exceptions=True)
            return ends

        made = await asyncio.gather(*(produce(seed) for seed in range(8)))
        ended = (job.result(timeout=20) for jobs in made for job in jobs)
        await asyncio.gather(*ended, return_exceptions=True)

        assert set(most) == {0, 1, 2}
        assert set(most.values()) == {1}
        jobs = [await step.enqueue(key) for key in range(3)]
        assert all(job.created for job in jobs), "no key is left behind"
        assert [await job.result(timeout=20) for job in jobs] == [0, 1, 2]


async def test_a_job_that_reaches_its_time_limit_gives_its_key_back() -> None:
    async with running(app):
        job = await slow.enqueue()
        with pytest.raises(TaskFailed, match="TimeLimitExceeded"):
            await job.result(timeout=20)
        again = await slow.enqueue()
        assert again.created
        await again.revoke()


async def test_a_job_whose_process_dies_keeps_its_key_until_it_is_buried() -> None:
    async with running(app):
        job = await die.enqueue()
        assert (await die.enqueue()).id == job.id
        with pytest.raises(TaskFailed, match="WorkerLost"):
            await job.result(timeout=30)
        assert (await job.info()).crashes == 2
        again = await die.options(countdown=60).enqueue()
        assert again.created
        await again.revoke()


@pytest.mark.parametrize("terminate", [False, True])
async def test_a_job_that_is_revoked_while_it_runs_gives_its_key_back(terminate: bool) -> None:  # noqa: FBT001 - a parameter
    async with running(app):
        job = await wait.enqueue(1)
        await eventually(lambda: ran == [1])
        await job.revoke(terminate=terminate)
        with pytest.raises(Revoked):
            await job.result(timeout=20)
        assert (await wait.enqueue(1)).created
        door.set()


async def test_jobs_that_wait_and_are_revoked_give_their_keys_back() -> None:
    async with running(app):
        await narrow.enqueue(1)
        await eventually(lambda: ran == [1])
        parked, delayed = await narrow.enqueue(2), await narrow.options(countdown=60).enqueue(3)
        for job in (parked, delayed):
            assert await job.revoke()
        again = [await narrow.enqueue(2), await narrow.enqueue(3)]
        assert all(job.created for job in again)
        door.set()
        assert [await job.result(timeout=20) for job in again] == [2, 3]


async def test_a_job_that_expires_gives_its_key_back() -> None:
    async with running(app):
        job = await wait.options(countdown=60, expires=0.01).enqueue(1)
        with pytest.raises(Revoked, match="expired"):
            await job.result(timeout=20)
        assert (await wait.enqueue(1)).created
        door.set()


async def test_a_worker_that_leaves_gives_the_job_back_and_not_the_key() -> None:
    async with running(app, concurrency=1) as stays:
        async with running(app, url=stays.url, concurrency=1):
            jobs = [await wait.enqueue(key) for key in range(2)]
            await eventually(lambda: sorted(map(str, ran)) == ["0", "1"])
            door.set()
        for job in jobs:
            await job.result(timeout=20)
        assert (await wait.enqueue(0)).created


async def test_debounced_jobs_run_once_with_what_came_last_whatever_else_is_due() -> None:
    async with running(app):
        other = await wait.options(countdown=0.3).enqueue(7)
        door.set()
        jobs = [await late.options(countdown=0.1).enqueue(5) for _ in range(20)]
        assert len({job.id for job in jobs}) == 1
        assert await jobs[-1].result(timeout=20) == 5
        assert await other.result(timeout=20) == 7
        assert ran.count(5) == 1


@pytest.mark.parametrize("reach", range(0, 60, 12))
async def test_a_call_whose_reply_was_lost_is_one_job_and_holds_one_key(reach: int) -> None:
    """Cut anywhere in the reply: the call is sent again, and hears what it would have heard."""
    async with running(app) as worker, proxy_to(worker.url) as proxy:
        with app.connected_to(proxy.url):
            await (await wait.enqueue(0)).status()
            proxy.cut_after(reach)
            job = await wait.enqueue(1)
            same = await wait.enqueue(1)
            assert job.created
            assert same.id == job.id
            door.set()
            assert await job.result(timeout=20) == 1
        assert ran.count(1) == 1


async def test_an_occurrence_of_a_unique_task_is_passed_over_while_its_job_goes_on() -> None:
    async with running(app):
        await app.schedules.add("often", tick.s(), every(0.05))
        await eventually(lambda: ran == ["tick"])

        async def is_noted() -> bool:
            return (await app.schedules.history("often"))[0].outcome == "overlap"

        await eventually(is_noted)
        by_hand = await app.schedules.run_now("often")
        overlap = (await app.schedules.history("often"))[0]
        assert (by_hand.id, by_hand.created) == (overlap.job_id, False)
        assert ran == ["tick"]
        await app.schedules.remove("often")
        door.set()
        await by_hand.result(timeout=20)
