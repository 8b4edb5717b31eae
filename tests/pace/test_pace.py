"""Three workers share one limit, one of them is killed, and the others are not slowed down."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aioq import Job
from tests.broker.place import Place
from tests.chaos.actors import Life, environment
from tests.eventually import eventually
from tests.pace.app import app, free, limited, slotted

log: logging.Logger = logging.getLogger(__name__)

RATE, BURST, SLOTS = 100, 100, 4
COMMAND = ["-m", "aioq", "worker", "tests.pace.app:app", "--concurrency", "50"]


class Load(NamedTuple):
    """How many jobs of a limited task, among how many others."""

    limited: int
    free: int

    @property
    def seconds(self) -> float:
        """How long the limited ones take: the burst is at once."""
        return (self.limited - BURST) / RATE


@contextmanager
def crew(folder: Path, url: str, size: int = 3) -> Generator[list[Life]]:
    """Start workers; those that live in the end are killed."""
    settings = {"AIOQ_URL": url, "AIOQ_LEASE": "2", "AIOQ_GRACE": "5"}
    command = [sys.executable, *COMMAND]
    lives = [Life(f"w{n}", folder, command, environment(settings)) for n in range(size)]
    try:
        yield lives
    finally:
        for life in lives:
            life.kill()


@asynccontextmanager
async def on(place: Place) -> AsyncGenerator[None]:
    with app.connected_to(place.url):
        async with app:
            yield


def starts_ms(place: Place, jobs: list[Job[Any]]) -> list[int]:
    """Return when jobs started, by the server's clock, in order."""
    found: list[int] = []
    for job in jobs:
        enqueued, waited = place.admin("HMGET", f"{place.prefix}j:{job.id}", "n", "b")
        found.append(int(enqueued) + int(waited))
    return sorted(found)


def most_above(starts: list[int]) -> float:
    """Return by how much the fullest window exceeds rate x window + burst, in starts.

    It is enough to look at windows that begin and end with a start, and as starts are known to the
    millisecond, a window is up to one longer than it looks.
    """
    lowest, worst = float("inf"), float("-inf")
    for index, start in enumerate(starts):
        lowest = min(lowest, index - RATE * start / 1000)
        worst = max(worst, index - RATE * start / 1000 - lowest + 1 - BURST - RATE / 1000)
    return worst


async def ended(jobs: list[Job[Any]], *, timeout: float) -> None:
    async with asyncio.timeout(timeout):
        await asyncio.gather(*(job.result() for job in jobs))


async def run(place: Place, folder: Path, load: Load) -> None:
    async with on(place):
        slow, fast = limited.enqueue_many, free.enqueue_many
        with crew(folder, place.url) as lives:
            await eventually(lambda: place.admin("ZCARD", place.keys.leases) == 3, seconds=30)
            began = time.monotonic()
            limited_jobs = await slow([(n,) for n in range(load.limited)])
            free_jobs = await fast([(n,) for n in range(load.free)])
            await ended(free_jobs[: load.free // 2], timeout=60)
            lives[0].kill()
            await ended(free_jobs, timeout=60)
            free_took = time.monotonic() - began
            await ended(limited_jobs, timeout=load.seconds + 60)
        starts = starts_ms(place, limited_jobs)
        took = (starts[-1] - starts[0]) / 1000
        log.info("Limited: %.2f s of %g; free: %.2f s.", took, load.seconds, free_took)
        assert load.seconds - 0.01 <= took <= load.seconds * 1.02 + 1
        assert most_above(starts) <= 0
        assert place.admin("EXISTS", f"{place.prefix}sl:c:limited:") == 0


async def test_a_limit_is_kept_and_used_up_and_slows_nobody_else_down(
    place: Place, tmp_path: Path
) -> None:
    await run(place, tmp_path, Load(limited=400, free=3000))


@pytest.mark.soak
async def test_three_thousand_at_a_hundred_a_second_take_half_a_minute(
    place: Place, tmp_path: Path
) -> None:
    await run(place, tmp_path, Load(limited=3000, free=30_000))


async def test_a_killed_worker_leaks_no_slot(place: Place, tmp_path: Path) -> None:
    held = f"{place.prefix}sl:c:tests.pace.app.slotted:"
    most = 0

    async def watch(is_done: Callable[[], bool]) -> None:
        nonlocal most
        while not is_done():
            most = max(most, place.admin("SCARD", held))
            await asyncio.sleep(0.002)

    async with on(place):
        with crew(tmp_path, place.url) as lives:
            await eventually(lambda: place.admin("ZCARD", place.keys.leases) == 3, seconds=30)
            jobs = await slotted.enqueue_many([(n,) for n in range(200)])
            everything = asyncio.ensure_future(ended(jobs, timeout=60))
            watching = asyncio.ensure_future(watch(everything.done))
            await ended(jobs[:50], timeout=30)
            for life in lives[:2]:
                life.kill()
            await everything
            await watching
        assert most == SLOTS
        assert place.admin("EXISTS", held) == 0
