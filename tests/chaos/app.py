"""The app of the chaos: its tasks write down when they start and how they end.

Kills from outside hit the innocent, so no number of crashes buries a job here.
"""

import asyncio
import time

from aioq import CONTEXT, Aioq, Context, Settings, TokenBucket
from tests.chaos import journal

RATE = TokenBucket(25, per=1, burst=10)
SLOTS = 3
TENANTS = 4
app = Aioq(name="test", settings=Settings(result_expires=7200))
_journal = journal.of_this_process()


class Expected(Exception):
    """What a task of the chaos raises on purpose."""


class Run:
    """One run of a job, from the task's first line to its last, however it leaves."""

    def __init__(self, n: str, ctx: Context) -> None:
        self._words = (n, ctx.job_id, ctx.request.deliveries)

    def __enter__(self) -> None:
        _write("start", *self._words, f"{time.time():.6f}")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        how = "returned" if kind is None else "raised" if issubclass(kind, Expected) else "left"
        _write(how, *self._words)


def answer(n: str, size: int = 0) -> str:
    """Return what the job of a number returns."""
    return f"{n}:".ljust(size, "x")


@app.task(max_crashes=None)
async def work(n: str, seconds: float = 0, size: int = 0, ctx: Context = CONTEXT) -> str:
    """Do nothing for some seconds, and return something of a size."""
    with Run(n, ctx):
        await asyncio.sleep(seconds)
    return answer(n, size)


@app.task(max_crashes=None, max_retries=5, autoretry_for=(Expected,), default_retry_delay=0.2)
async def flaky(n: str, failures: int, ctx: Context = CONTEXT) -> str:
    """Raise until it has been retried often enough."""
    with Run(n, ctx):
        await asyncio.sleep(0.01)
        if ctx.request.retries < failures:
            raise Expected(n)
    return answer(n)


@app.task(max_crashes=None)
async def doomed(n: str, ctx: Context = CONTEXT) -> None:
    """Raise, and end as a dead letter."""
    with Run(n, ctx):
        raise Expected(n)


@app.task(max_crashes=None, rate_limit=RATE)
async def paced(n: str, ctx: Context = CONTEXT) -> str:
    """Do nothing, and not too often."""
    with Run(n, ctx):
        await asyncio.sleep(0.01)
    return answer(n)


@app.task(max_crashes=None, max_concurrency=SLOTS)
async def slotted(n: str, seconds: float, ctx: Context = CONTEXT) -> str:
    """Do nothing for some seconds, together with few others."""
    with Run(n, ctx):
        await asyncio.sleep(seconds)
    return answer(n)


def _tenant(n: str, **_: object) -> int:
    return int(n.rpartition("-")[2]) % TENANTS


@app.task(max_crashes=None, fair_by=_tenant)
async def shared(n: str, ctx: Context = CONTEXT) -> str:
    """Do nothing, when it is one's turn."""
    with Run(n, ctx):
        await asyncio.sleep(0.01)
    return answer(n)


@app.task(max_crashes=None)
def in_a_thread(n: str, seconds: float, ctx: Context = CONTEXT) -> str:
    """Block a thread."""
    with Run(n, ctx):
        time.sleep(seconds)
    return answer(n)


def _write(kind: str, *words: object) -> None:
    if _journal is not None:
        _journal.write(kind, *words)


if _journal is not None:
    _journal.watch_the_clock()
