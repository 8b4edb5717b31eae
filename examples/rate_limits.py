"""Keep to a pace: a burst and its bound, a limit for each key, slots, and a change at run time.

    python examples/rate_limits.py

Everything happens here: an embedded server, and two workers in this event loop, which keep to the
limits together.
"""

import asyncio
from collections import Counter
from datetime import datetime

from aioq import Aioq, Concurrency, TokenBucket
from aioq.testing import running

app = Aioq(name="limits")
RATE, BURST = 50, 5
now_running: Counter[str] = Counter()
most_at_once: Counter[str] = Counter()


def user_of(user: str, **_: object) -> str:
    """Return the key; called with the arguments of the task by their names."""
    return user


@app.task(rate_limit=TokenBucket(RATE, burst=BURST))
async def paced(n: int) -> int:
    """Start 50 times a second, and 5 times at once."""
    return n


@app.task(rate_limit=TokenBucket(1, per=3600, key=user_of))
async def remind(user: str) -> str:
    """Start once an hour for each user."""
    return user


@app.task(max_concurrency=Concurrency(3, name="database"))
async def load(n: int) -> int:
    """Never run more than three times at once."""
    now_running["database"] += 1
    most_at_once["database"] = max(most_at_once["database"], now_running["database"])
    await asyncio.sleep(0.01)
    now_running["database"] -= 1
    return n


@app.task
async def free() -> str:
    """Have no limit at all."""
    return "done"


async def main() -> None:
    """Run the whole demonstration."""
    async with running(app) as first, running(app, url=first.url):
        await show_a_pace()
        await show_keys_and_a_change()
        await show_slots()
        await show_a_limiter()


async def show_a_pace() -> None:
    """Start many jobs at once, and look at when each has started, by the server's clock."""
    jobs = await paced.enqueue_many([(n,) for n in range(50)])
    print("An unlimited job beside 50 that wait:", await (await free.enqueue()).result(timeout=10))
    await asyncio.gather(*(job.result(timeout=30) for job in jobs))
    infos = await asyncio.gather(*(job.info() for job in jobs))
    starts = [info.started_at for info in infos if info.started_at is not None]
    print("  in order:             ", starts == sorted(starts))
    print("  the burst at once:    ", (starts[BURST - 1] - starts[0]).total_seconds() < 1 / RATE)
    print("  the bound is kept:    ", all(is_kept(starts, first) for first in range(len(starts))))


def is_kept(starts: list[datetime], first: int) -> bool:
    """Tell whether no window that begins with this start has more than rate x window + burst."""
    for count, last in enumerate(starts[first:], start=1):
        window = (last - starts[first]).total_seconds()
        if count > RATE * window + BURST + 0.1:  # the clock of the record counts milliseconds
            return False
    return True


async def show_keys_and_a_change() -> None:
    """Let one user wait, and then allow more."""
    jobs = await remind.enqueue_many([("ann",), ("ann",), ("bob",), ("ann",)])
    await asyncio.gather(jobs[0].result(timeout=10), jobs[2].result(timeout=10))
    print("\nAnn, Ann, Bob, Ann:", *[await job.status() for job in jobs])
    [info] = [each for each in await app.limits.list(key="ann") if each.name == remind.name]
    print(f"  {info.rate:g} per {info.per:g} s, {info.waiting} wait, {info.available} available")
    await app.limits.set(remind.name, "100/s")
    await asyncio.gather(*(job.result(timeout=10) for job in jobs))
    print("  after a change:", *[await job.status() for job in jobs])
    await app.limits.reset(remind.name)


async def show_slots() -> None:
    """Run many jobs of which three may run at the same time."""
    jobs = await load.enqueue_many([(n,) for n in range(30)])
    await asyncio.gather(*(job.result(timeout=30) for job in jobs))
    print(f"\n{len(jobs)} jobs have run, {max(most_at_once.values())} of them at the same time")


async def show_a_limiter() -> None:
    """Use a bucket without any task."""
    limiter = app.limiter("maps", TokenBucket(20, burst=2))
    began = asyncio.get_running_loop().time()
    for _ in range(6):
        async with limiter.acquire():
            pass
    took = asyncio.get_running_loop().time() - began
    print("\nSix calls, two at once and 20 a second, take at least 0.2 s:", took >= 0.19)


if __name__ == "__main__":
    asyncio.run(main())
