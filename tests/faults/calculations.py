"""Tasks of which workflows are made, and who notes how often each job of them has run."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from aioq import CONTEXT, Aioq, Context, Retry, Settings, current_job
from aioq.testing import running
from aioq.worker import Worker
from tests.broker.place import Place
from tests.eventually import eventually

PATIENCE = 30
"""Seconds: on a busy machine; nothing takes so long."""
SETTINGS = Settings(lease=1, process_workers=1)
app = Aioq(name="test", settings=SETTINGS)


class Ledger:
    """Which jobs have run, and how often."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all of it; the event belongs to the loop of one test."""
        self.runs: Counter[str] = Counter()
        """The runs of each job, by its id."""
        self._names: dict[str, str] = {}
        self.door = asyncio.Event()
        """What is held goes on once it is set, and what fails does not fail any more."""

    def begin(self, name: str) -> Context:
        """Note that a job of the running task has begun."""
        ctx = current_job()
        self.runs[ctx.job_id] += 1
        self._names[ctx.job_id] = name
        return ctx

    def times(self, name: str) -> int:
        """Count the runs of what is called so."""
        return sum(self.runs[job_id] for job_id, each in self._names.items() if each == name)


ledger = Ledger()


@app.task
async def leaf(value: int) -> int:
    ledger.begin("leaf")
    return value


@app.task(ignore_result=True)
async def quiet(value: int) -> int:
    ledger.begin("quiet")
    return value


@app.task
async def plus(value: int, more: int) -> int:
    ledger.begin("plus")
    return value + more


@app.task
async def total(values: list[Any]) -> int:
    ledger.begin("total")
    return _sum(values)


@app.task
async def counted(values: list[Any]) -> int:
    ledger.begin("counted")
    return len(values)


@app.task
async def held(value: int) -> int:
    ledger.begin("held")
    await ledger.door.wait()
    return value


@app.task
async def listed(values: list[int]) -> list[int]:
    ledger.begin("listed")
    return values


@app.task(max_retries=2)
async def retried(value: int) -> int:
    if ledger.begin("retried").request.retries < 2:
        raise Retry(countdown=0)
    return value


@app.task
async def failing(value: int) -> int:
    ledger.begin("failing")
    if not ledger.door.is_set():
        raise ValueError(f"no {value}")
    return value


@app.task(time_limit=0.1)
async def slow(value: int) -> int:
    ledger.begin("slow")
    await asyncio.sleep(3600)
    return value


@app.task
async def rejected(value: int, ctx: Context = CONTEXT) -> int:
    ledger.begin("rejected")
    return ctx.reject(f"no {value}")


@app.task(executor="process", max_crashes=1)
def deadly(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


@app.task
async def clean_up(ctx: Context = CONTEXT) -> str:
    ledger.begin("clean_up")
    return str(ctx.error)


def _sum(values: list[Any]) -> int:
    assert isinstance(values, list)
    return sum(_sum(cast("list[Any]", n)) if isinstance(n, list) else n for n in values)


@asynccontextmanager
async def workers(place: Place, count: int = 2) -> AsyncGenerator[Worker]:
    """Run workers, so that what belongs together ends on several of them."""
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(running(app, url=place.url, concurrency=30))
            for _ in range(count)
        ]
        yield started[0]
    # One that was being opened is closed a moment later, and only while this loop turns.
    await eventually(lambda: not place.admin.others())


def members(place: Place, root: str) -> list[str]:
    """Return the ids of the jobs of a workflow."""
    found = place.admin("LRANGE", f"{place.prefix}gm:{root}", 0, -1)
    return [job_id.decode() for job_id in found]


async def all_of(task: str, place: Place, root: str) -> list[str]:
    """Return those of one task."""
    job_ids = members(place, root)
    return [job_id for job_id in job_ids if (await app.job(job_id).info()).task.endswith(task)]


@app.task
async def last_of_graph(values: dict[str, int]) -> int:
    ledger.begin("last_of_graph")
    return values["d"]
