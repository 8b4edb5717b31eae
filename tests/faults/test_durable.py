"""Durable jobs whose workers are killed: what is noted does not run again, nor is a child twice."""

import asyncio
import random
import signal
from collections.abc import Callable

from aioq import CONTEXT, Aioq, Context, Job, JobState
from aioq.embedded import PrivateServer
from aioq.testing import running
from tests.eventually import eventually
from tests.faults.conftest import Shop

PATIENCE = 60
DURABLE = """
import asyncio
import os
import random
from pathlib import Path

from aioq import CONTEXT, Aioq, Context

app = Aioq()


def begin(name):
    with Path(f"{name}.runs").open("a") as runs:
        runs.write(f"{os.getpid()}\\n")


async def gone_on(name):
    while not Path(f"{name}.go").exists():
        await asyncio.sleep(0.01)


def draw(name):
    begin(name)
    return random.random()


@app.task
async def member(name: str, drawn: float) -> float:
    begin(name)
    return drawn


@app.task(max_crashes=None)
async def order(name: str, ctx: Context = CONTEXT) -> list:
    begin(name)
    first = await ctx.step("first", draw, f"{name}-first")
    begin(f"{name}-noted")
    await gone_on(f"{name}-1")
    async with ctx.group() as group:
        children = [group.start(member.s(f"{name}-member{n}", first)) for n in range(3)]
    begin(f"{name}-started")
    await gone_on(f"{name}-2")
    drawn = await ctx.wait(children)
    last = await ctx.step("last", draw, f"{name}-last")
    begin(f"{name}-ending")
    await gone_on(f"{name}-3")
    return [first, drawn, last]


@app.task(max_crashes=None)
async def hurried(name: str, ctx: Context = CONTEXT) -> list:
    first = await ctx.step("first", draw, f"{name}-first")
    await ctx.sleep(0.2)
    async with ctx.group() as group:
        children = [group.start(quick.s(first, n)) for n in range(2)]
    drawn = await ctx.wait(children)
    await ctx.sleep(0.2)
    return [first, drawn]


@app.task(max_crashes=None)
async def quick(drawn: float, number: int) -> float:
    await asyncio.sleep(0.1)
    return drawn + number
"""


async def test_a_job_whose_worker_is_killed_between_its_steps_goes_on_behind_them(
    shop: Shop,
) -> None:
    shop.terminal.write("durable.py", DURABLE)
    job: Job[list[object]] = await shop.app.send_task("durable.order", args=("job",))
    worker = shop.terminal.start_worker("durable:app")

    await eventually(lambda: shop.runs("job-noted"), seconds=PATIENCE)
    worker.send(signal.SIGKILL)
    shop.let_go("job-1")
    worker = shop.terminal.start_worker("durable:app")

    await eventually(lambda: shop.runs("job-started"), seconds=PATIENCE)

    async def children_have_ended() -> bool:
        states = [await shop.app.job(f"{job.id}.{n}").status() for n in (1, 2, 3)]
        return states == [JobState.SUCCESS] * 3

    await eventually(children_have_ended, seconds=PATIENCE)
    worker.send(signal.SIGKILL)
    shop.let_go("job-2")
    worker = shop.terminal.start_worker("durable:app")

    await eventually(lambda: shop.runs("job-ending"), seconds=PATIENCE)
    worker.send(signal.SIGKILL)
    shop.let_go("job-3")
    shop.terminal.start_worker("durable:app")

    first, drawn, _ = await job.result(timeout=PATIENCE)
    assert drawn == [first] * 3
    assert len(shop.runs("job-first")) == len(shop.runs("job-last")) == 1
    assert [len(shop.runs(f"job-member{n}")) for n in range(3)] == [1, 1, 1]
    assert len(shop.runs("job")) >= 4
    info = await job.info()
    assert (info.retries, info.state) == (0, JobState.SUCCESS)


async def test_jobs_whose_workers_are_killed_again_and_again_end_as_if_none_had_been(
    shop: Shop,
) -> None:
    shop.terminal.write("durable.py", DURABLE)
    jobs: list[Job[list[object]]] = [
        await shop.app.send_task("durable.hurried", args=(f"job{n}",)) for n in range(20)
    ]
    broker = shop.app.client.broker()
    dice = random.Random(7)
    workers = [shop.terminal.start_worker("durable:app") for _ in range(2)]
    for _ in range(4):
        goal = sum([(await job.info()).deliveries for job in jobs]) + dice.randint(1, 12)

        async def has_gone_on(goal: int = goal) -> bool:
            found = [await job.info() for job in jobs]
            have_ended = all(info.state.is_final for info in found)
            return have_ended or sum(info.deliveries for info in found) >= goal

        await eventually(has_gone_on, seconds=PATIENCE)
        workers.pop(0).send(signal.SIGKILL)
        workers.append(shop.terminal.start_worker("durable:app"))

    for number, job in enumerate(jobs):
        first, drawn = await job.result(timeout=PATIENCE)
        assert isinstance(first, float)
        assert drawn == [first, first + 1], f"job{number} has had two minds"
        children = [await shop.app.job(f"{job.id}.{n}").status() for n in (1, 2)]
        assert children == [JobState.SUCCESS] * 2
    names = await broker.command("KEYS", "*}:d[mw]:*")
    assert names == []


app = Aioq()
began: list[str] = []
goes_on: asyncio.Event


async def held_work() -> int:
    began.append("work")
    await goes_on.wait()
    return 5


@app.task
async def held(ctx: Context = CONTEXT) -> int:
    found = await ctx.step("work", held_work)
    await ctx.sleep(0.05)
    await ctx.wait_event("go")
    return found


async def test_a_step_whose_server_is_away_when_it_returns_is_noted_when_it_is_back(
    new_server: Callable[..., PrivateServer],
) -> None:
    """An outage fails no job, and a job that waits outlives it."""
    global goes_on
    goes_on = asyncio.Event()
    began.clear()
    server = new_server(appendonly=True)
    async with running(app, url=server.url):
        job = await held.enqueue()
        await eventually(lambda: began)
        server.kill()
        goes_on.set()
        await asyncio.to_thread(server.restart)

        async def waits() -> bool:
            info = await job.info()
            return info.deliveries == 2 and info.state is JobState.PENDING

        await eventually(waits, seconds=PATIENCE)
        server.kill()
        await asyncio.to_thread(server.restart)
        assert await app.send_event("go") == 1
        assert await job.result(timeout=PATIENCE) == 5
    assert began == ["work"]
