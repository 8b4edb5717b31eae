"""Headers that are generators, as in celery 3021, which wants its members to run while it yields.

Here a workflow is made as a whole or not at all: nothing of it begins before all of it is there,
and what a client leaves half made is given up.
"""

import asyncio
import sys
from collections.abc import Iterator

import pytest

from aioq import Aioq, JobState, chord, group
from aioq.tasks import Composable
from tests.broker.place import Place
from tests.eventually import eventually
from tests.faults.calculations import (
    PATIENCE,
    app,
    leaf,
    ledger,
    listed,
    members,
    workers,
)
from tests.faults.proxy import proxy_to


@pytest.fixture(autouse=True)
async def nothing_has_run() -> None:
    ledger.reset()


async def test_celery_3021_a_generator_is_taken_once_and_its_order_is_kept(place: Place) -> None:
    taken: list[int] = []

    def header() -> Iterator[Composable[int]]:
        for n in range(1000):
            taken.append(n)
            yield leaf.s(n)

    async with workers(place):
        handle = await chord(header(), listed.s()).enqueue()
        assert await handle.result(timeout=PATIENCE) == list(range(1000))

    assert taken == list(range(1000))
    assert (ledger.times("leaf"), ledger.times("listed")) == (1000, 1)


async def test_celery_3021_a_generator_that_fails_half_way_queues_nothing(place: Place) -> None:
    def header() -> Iterator[Composable[int]]:
        yield from (leaf.s(n) for n in range(700))
        raise LookupError("no more")

    async with workers(place) as worker:
        with pytest.raises(LookupError):
            await chord(header(), listed.s()).enqueue()
        await worker.run_until_idle()

    assert not ledger.runs
    assert place.admin("KEYS", f"{place.prefix}j:*") == []


async def test_celery_3021_nothing_of_a_large_plan_begins_before_all_of_it_is_there(
    place: Place,
) -> None:
    """Begun one by one, a plan whose sender dies would be done by half."""
    client = Aioq(name="test")
    task = client.task(name=leaf.name)(leaf.function)
    async with workers(place), proxy_to(place.url) as proxy:
        with client.connected_to(proxy.url):
            proxy.delay = 0.02
            sending = asyncio.ensure_future(group(task.s(n) for n in range(3000)).enqueue())
            await eventually(lambda: place.admin("ZCARD", f"{place.prefix}go"))
            proxy.hold()
            other = await leaf.enqueue(-1)
            assert await other.result(timeout=PATIENCE) == -1
            assert (ledger.times("leaf"), sending.done()) == (1, False)
            proxy.delay = 0
            proxy.release()

            handle = await sending
            assert await handle.result(timeout=PATIENCE) == list(range(3000))
        await client.aclose()
    assert ledger.times("leaf") == 3001


SENDER = """
import asyncio, sys
from aioq import Aioq, group

app = Aioq(name="test")


@app.task(name="leaf")
async def leaf(value: int) -> int: ...


async def main() -> None:
    with app.connected_to(sys.argv[1]):
        await group(leaf.s(n) for n in range(3000)).enqueue()


asyncio.run(main())
"""


async def test_celery_3021_the_half_plan_of_a_client_that_died_is_given_up(place: Place) -> None:
    async with workers(place, 1) as worker, proxy_to(place.url) as proxy:
        proxy.delay = 0.02
        sender = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDER, proxy.url)
        await eventually(lambda: place.admin("ZCARD", f"{place.prefix}go"), seconds=PATIENCE)
        proxy.hold()
        sender.kill()
        await sender.wait()
        proxy.drop()
        (root,) = map(bytes.decode, place.admin("ZRANGE", f"{place.prefix}go", 0, -1))
        made = members(place, root)
        assert 0 < len(made) < 3001
        place.admin("ZADD", f"{place.prefix}go", 0, root)  # as if its minute were over

        async def is_given_up() -> bool:
            return await app.job(root).status() is JobState.REVOKED and not members(place, root)

        await eventually(is_given_up, seconds=PATIENCE)
        await worker.run_until_idle()
        states = {await app.job(job_id).status() for job_id in made}

    assert states == {JobState.REVOKED}
    assert not ledger.runs
