"""Schedules while the server is away: late is not lost, and nothing is made twice."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from aioq import Aioq, every
from aioq.testing import running
from aioq.worker.lone_scheduler import LoneScheduler
from tests.broker.place import Place
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

app = Aioq(name="test")


@app.task
async def tick() -> None: ...


app.schedule("ticking", tick.s(), every(0.1))


def occurrences(place: Place) -> list[int]:
    """Return what was fired, the oldest first; nothing was missed."""
    lines = place.admin("LRANGE", f"{place.prefix}ch:ticking", 0, -1)
    whats, moments, *_ = zip(*(line.decode().split() for line in reversed(lines)), strict=True)
    assert set(whats) == {"f"}
    return [int(at_ms) for at_ms in moments]


async def test_an_outage_costs_no_occurrence_and_makes_none_twice(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def fired() -> int:
        return place.admin("LLEN", f"{place.prefix}ch:ticking")

    async with proxy_to(place.url) as proxy, running(app, url=proxy.url) as worker:
        await eventually(lambda: fired() >= 3)
        for outage in range(1, 4):
            proxy.is_up = False
            proxy.drop()
            await eventually(lambda outage=outage: caplog.text.count("server is away") >= outage)
            before = fired()
            proxy.is_up = True
            await eventually(lambda before=before: fired() >= before + 5)
        await app.schedules.pause("ticking")
        await worker.run_until_idle()
    found = occurrences(place)
    assert found == list(range(found[0], found[-1] + 1, 100))
    ended = [name for name in place.dump() if name.startswith("j:cron:ticking:")]
    assert len(ended) == len(found)


async def test_a_subscription_that_was_lost_is_there_again(place: Place) -> None:
    """And whoever has it again looks, for what it was told meanwhile it did not hear."""
    async with proxy_to(place.url) as proxy, running(app, url=proxy.url):
        await app.schedules.remove("ticking")
        proxy.drop()
        await eventually(lambda: _subscribers(place) == 1)
        await app.schedules.add("other", tick.s(), every(0.1))
        await eventually(lambda: place.admin("LLEN", f"{place.prefix}ch:other") > 0)
        await app.schedules.remove("other")


@pytest.mark.parametrize("of", ["a worker", "a scheduler"])
async def test_a_server_that_has_lost_all_is_told_again_what_the_code_declares(
    place: Place, of: str
) -> None:
    def fired() -> bool:
        return place.admin("LLEN", f"{place.prefix}ch:ticking") > 0

    async with running(app, url=place.url) if of == "a worker" else scheduling(place):
        await eventually(fired)
        place.admin("FLUSHALL")
        await eventually(fired)
        place.admin("FLUSHALL")
        await eventually(fired)


@asynccontextmanager
async def scheduling(place: Place) -> AsyncGenerator[None]:
    """Run a scheduler that runs no jobs."""
    with app.connected_to(place.url):
        scheduler = LoneScheduler(app)
        runs = asyncio.create_task(scheduler.run())
        try:
            yield
        finally:
            scheduler.stop()
            await runs
            await app.aclose()


def _subscribers(place: Place) -> int:
    return place.admin("PUBSUB", "NUMSUB", f"{place.prefix}n")[1]
