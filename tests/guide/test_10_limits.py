"""Limits: how often, how many at a time, and whose turn it is; for all workers together."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import asyncio
import logging
import time
from collections import Counter
from typing import Any

import pytest

from aioq import Aioq, Concurrency, ConfigurationError, Job, JobState, TokenBucket
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq()
starts: list[float] = []
ran: list[str] = []
now_running: Counter[str] = Counter()
most: Counter[str] = Counter()
door: asyncio.Event

stripe = app.limiter("stripe", TokenBucket(20, burst=2))


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    global door
    door = asyncio.Event()
    for each in (starts, ran, now_running, most):
        each.clear()


@app.task(rate_limit=TokenBucket(50, burst=3))
async def paced() -> None:
    starts.append(time.monotonic())


@app.task(rate_limit=TokenBucket(1, per=3600, key=lambda user_id, **_: user_id))
async def remind(user_id: int, text: str = "hello") -> None:
    ran.append(f"{text} {user_id}")


@app.task(rate_limit=TokenBucket(1, per=3600, burst=10, cost=lambda pages, **_: pages))
async def print_out(pages: int) -> int:
    return pages


@app.task(rate_limit=["1000/s", TokenBucket(1, per=3600, burst=2)])
async def twice_limited() -> None: ...


@app.task(rate_limit=TokenBucket(20, burst=2), rate_limit_name="stripe")
async def charge(name: str) -> None:
    ran.append(name)


async def work(kind: str) -> None:
    now_running[kind] += 1
    most[kind] = max(most[kind], now_running[kind])
    await asyncio.sleep(0.01)
    now_running[kind] -= 1


@app.task(max_concurrency=2)
async def export() -> None:
    await work("export")


@app.task(max_concurrency=Concurrency(1, key=lambda tenant, **_: tenant))
async def rebuild(tenant: str) -> None:
    await work(tenant)


@app.task(max_concurrency=Concurrency(3, name="database"))
async def load() -> None:
    await work("database")


@app.task(max_concurrency=Concurrency(3, name="database"))
async def dump() -> None:
    await work("database")


@app.task(max_concurrency=1)
async def hold() -> None:
    await door.wait()


@app.task(fair_by=lambda tenant, **_: tenant)
async def convert(tenant: str, n: int) -> None:
    ran.append(tenant)


@app.task
async def free() -> str:
    return "done"


async def is_in(job: Job[Any], state: JobState) -> bool:
    return await job.status() == state


async def test_jobs_start_at_their_pace_after_a_burst() -> None:
    async with running(app):
        began = time.monotonic()
        jobs = await paced.enqueue_many([()] * 13)
        for job in jobs:
            await job.result(timeout=10)
    # A hundredth of slack: the clock of this process is another one than the server's.
    assert all(at - began >= (n - 2) / 50 - 0.01 for n, at in enumerate(starts))


async def test_a_job_that_must_wait_takes_no_slot_and_holds_nobody_up() -> None:
    async with running(app, concurrency=1):
        first, second = await remind.enqueue_many([(1,), (1,)])
        await first.result(timeout=10)
        assert await (await free.enqueue()).result(timeout=10) == "done"
        assert await second.status() == JobState.PENDING


async def test_each_key_has_a_bucket_of_its_own() -> None:
    async with running(app):
        await remind.enqueue_many([(1,), (2,), (1,), (3,)])
        await remind.enqueue(user_id=2, text="again")
        await eventually(lambda: len(ran) == 3)
    assert sorted(ran) == ["hello 1", "hello 2", "hello 3"]


async def test_a_start_can_cost_more_than_one_token() -> None:
    async with running(app):
        jobs = await print_out.enqueue_many([(6,), (4,), (1,)])
        assert [await job.result(timeout=10) for job in jobs[:2]] == [6, 4]
        assert await jobs[2].status() == JobState.PENDING
    with pytest.raises(ConfigurationError, match=r"the cost of rate_limit returned 11"):
        await print_out.enqueue(11)


async def test_of_several_limits_the_tightest_counts() -> None:
    async with running(app):
        jobs = await twice_limited.enqueue_many([()] * 3)
        for job in jobs[:2]:
            await job.result(timeout=10)
        assert await jobs[2].status() == JobState.PENDING


async def test_no_more_run_at_a_time_than_may_whoever_runs_them() -> None:
    async with running(app) as worker, asyncio.TaskGroup() as group:
        other = Worker(app)
        other.may_lose_jobs = True
        runs = group.create_task(other.run())
        await other.started.wait()
        jobs = [*await export.enqueue_many([()] * 10), *await load.enqueue_many([()] * 6)]
        jobs += [*await dump.enqueue_many([()] * 6), *await rebuild.enqueue_many([("a",)] * 4)]
        jobs += await rebuild.enqueue_many([("b",)] * 4)
        for job in jobs:
            await job.result(timeout=20)
        other.stop()
        await runs
        assert worker.done + other.done >= len(jobs)
    assert most["export"] <= 2
    assert most["database"] <= 3
    assert most["a"] == most["b"] == 1


async def test_one_tenants_many_jobs_delay_anothers_single_one_by_few() -> None:
    async with running(app, concurrency=1):
        first = await hold.enqueue()
        await eventually(lambda: is_in(first, JobState.STARTED))
        await convert.enqueue_many([("big", n) for n in range(100)])
        await convert.enqueue("small", 0)
        door.set()
        await eventually(lambda: len(ran) == 101)
    assert ran.index("small") <= 2


async def test_a_job_sent_by_name_is_held_by_the_limits_of_its_task() -> None:
    elsewhere = Aioq()  # knows no code of ours
    async with running(app) as worker:
        with elsewhere.connected_to(worker.app.client.topology.url):
            name = remind.name
            jobs = [await elsewhere.send_task(name, [n]) for n in (1, 1, 2)]
            await jobs[0].result(timeout=10)
            await jobs[2].result(timeout=10)
            await eventually(lambda: is_in(jobs[1], JobState.PENDING))
            info = await jobs[1].info()
            assert (info.retries, info.crashes, info.deliveries) == (0, 0, 0)
            await elsewhere.aclose()


async def test_a_revoked_job_that_waits_does_not_stop_those_behind_it() -> None:
    async with running(app):
        first, second, third = await hold.enqueue_many([()] * 3)
        await eventually(lambda: is_in(first, JobState.STARTED))
        assert await second.revoke()
        door.set()
        await third.result(timeout=10)
        assert await second.status() == JobState.REVOKED


async def test_a_limit_set_at_run_time_holds_for_those_who_wait_until_it_is_reset() -> None:
    async with running(app):
        jobs = await remind.enqueue_many([(1,)] * 4)
        await jobs[0].result(timeout=10)
        await app.limits.set(remind.name, "1000/s")
        for job in jobs:
            await job.result(timeout=10)
        [info] = [each for each in await app.limits.list() if each.name == remind.name]
        assert (info.kind, info.rate, info.per, info.source) == ("rate", 1000, 1, "run time")
        await app.limits.reset(remind.name)
        [info] = [each async for each in app.limits.list() if each.name == remind.name]
        assert (info.rate, info.per, info.burst) == (1, 3600, 1)
        assert info.source.endswith("test_10_limits:app")


async def test_slots_can_be_added_at_run_time() -> None:
    async with running(app):
        jobs = await hold.enqueue_many([()] * 3)
        await eventually(lambda: is_in(jobs[0], JobState.STARTED))
        [info] = [each for each in await app.limits.list() if each.name == hold.name]
        assert (info.kind, info.max_concurrency, info.held) == ("concurrency", 1, 1)
        await app.limits.set(hold.name, Concurrency(3))
        for job in jobs:
            await eventually(lambda job=job: is_in(job, JobState.STARTED))
        door.set()


async def test_the_list_says_how_many_wait() -> None:
    async with running(app):
        jobs = await remind.enqueue_many([(7,)] * 5)
        await jobs[0].result(timeout=10)

        async def waiting() -> bool:
            infos = {each.name: each for each in await app.limits.list(key=7)}
            info = infos[remind.name]
            return (info.waiting, info.available) == (4, 0)

        await eventually(waiting)


async def test_a_limiter_can_be_used_by_itself() -> None:
    async with running(app):
        began = time.monotonic()
        async with stripe.acquire(cost=2):
            assert not await stripe.try_acquire()
        await stripe.acquire()
        assert time.monotonic() - began >= 0.04
        with pytest.raises(ConfigurationError, match=r"cost=3 is wrong: .* burst of 2"):
            await stripe.acquire(cost=3)


async def test_who_waits_at_a_limiter_can_be_a_task_and_be_cancelled() -> None:
    async with running(app):
        await stripe.acquire(cost=2)
        first, second = (asyncio.create_task(stripe.acquire(cost=cost)) for cost in (2, 1))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stripe.acquire(cost=2), timeout=0.001)


async def test_a_limiter_and_tasks_of_its_name_share_their_tokens() -> None:
    async with running(app):
        await app.limits.set("stripe", TokenBucket(1, per=3600, burst=2))
        assert await stripe.try_acquire()
        jobs = await charge.enqueue_many([("a",), ("b",)])
        await jobs[0].result(timeout=10)
        assert not await stripe.try_acquire()
        assert await jobs[1].status() == JobState.PENDING


async def test_a_name_that_nobody_declares_can_be_set_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(app):
        with caplog.at_level(logging.WARNING, "aioq.limits"):
            await app.limits.set("strpie", "5/s")
        assert "did you mean 'stripe'?" in caplog.text
        assert "strpie" in {each.name for each in await app.limits.list()}


def test_two_definitions_of_one_name_are_refused() -> None:
    other = Aioq()
    other.limiter("stripe", "10/s")
    other.limiter("stripe", TokenBucket(10))
    with pytest.raises(ConfigurationError, match=r"give both the same numbers"):
        other.limiter("stripe", "9/s")
    with pytest.raises(ConfigurationError, match=r"app\.limiter\('stripe', .*and task .*charge"):
        other.task(rate_limit="5/s", rate_limit_name="stripe")(charge.function)
    with pytest.raises(ConfigurationError, match=r"define the limit 'database' in two ways"):
        for limit in (1, 2):
            slots = Concurrency(limit, name="database")
            other.task(name=f"task{limit}", max_concurrency=slots)(free.function)


@pytest.mark.parametrize(
    "bad", ["fast", 5, None, TokenBucket(5, key=len), TokenBucket(5, cost=2), "0/s"]
)
async def test_what_is_no_limit_is_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError):
        await app.limits.set("stripe", bad)  # pyright: ignore[reportArgumentType]


async def test_a_limit_of_the_other_kind_is_set_with_a_warning_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(app):
        with caplog.at_level(logging.WARNING, "aioq.limits"):
            await app.limits.set("stripe", Concurrency(3))
        assert caplog.messages == [
            "The limit 'stripe' is set, but no worker has declared a concurrency limit of this "
            "name yet; it is the name of a rate limit."
        ]
        await app.limits.reset("stripe")


@pytest.mark.parametrize("bad", ["", None, 3])
async def test_what_is_no_name_of_a_limit_is_refused(bad: str) -> None:
    with pytest.raises(ConfigurationError, match=r"app\.limiter: name=.* is wrong: it is text"):
        app.limiter(bad, "10/s")
    with pytest.raises(ConfigurationError, match=r"app\.limits\.set: name=.* is wrong"):
        await app.limits.set(bad, "10/s")
    with pytest.raises(ConfigurationError, match=r"app\.limits\.reset: name=.* is wrong"):
        await app.limits.reset(bad)


@pytest.mark.parametrize("bad", [0, -1, 3, 1.5, True, "2"])
def test_what_is_no_cost_is_refused(bad: int) -> None:
    with pytest.raises(ConfigurationError, match=r"limiter stripe: cost=.* is wrong"):
        stripe.acquire(cost=bad)


@pytest.mark.parametrize("bad", ["fast", None, TokenBucket(5, key=len)])
def test_what_is_no_limiter_is_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError):
        Aioq().limiter("stripe", bad)  # pyright: ignore[reportArgumentType]
