"""What the simulation has found in aioq itself, each with a test of its own on the real thing."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aioq import Aioq
from aioq.broker.broker import Broker, reap
from aioq.embedded import PrivateServer
from aioq.testing import running
from aioq.worker import Worker
from aioq.worker.identity import Identity
from aioq.worker.lease import LeaseKeeper
from tests.broker.place import Place, broker_on
from tests.eventually import eventually
from tests.faults.proxy import proxy_to
from tests.simulation.wire import LOGGING

app = Aioq(name="test")
logs: list[Path] = []
starts: list[str] = []
sizes: list[int] = []
hold: asyncio.Event


@app.task
async def noting() -> None:
    starts.append("noting")
    sizes.append(logs[0].stat().st_size)


@app.task
async def held() -> None:
    starts.append("held")
    await hold.wait()


@asynccontextmanager
async def keeping(
    place: Place, beats: Callable[[str], None]
) -> AsyncGenerator[tuple[LeaseKeeper, Identity, Broker]]:
    """Keep a lease, and call `beats` with the present name before each beat."""
    identity = Identity()

    def presence() -> bytes:
        beats(identity.name)
        return b"{}"

    async with broker_on(place) as broker:
        keeper = LeaseKeeper(
            broker, identity, lease=0.3, queues=["default"], limits=[], presence=presence
        )
        await keeper.register()
        keeper.start()
        try:
            yield keeper, identity, broker
        finally:
            keeper.stop()
            await eventually(lambda: len(place.admin.others()) <= 1)  # the thread has hung up
            await broker.leave(identity.name)


async def test_a_beat_that_comes_back_late_does_not_stop_the_next_incarnation(
    place: Place,
) -> None:
    loop = asyncio.get_running_loop()
    names: list[str] = []
    keepers: list[LeaseKeeper] = []

    def beats(name: str) -> None:
        """Have the lease lost, and the loop go on under another name, while the thread asks."""
        names.append(name)
        if keepers and threading.current_thread() is not threading.main_thread():
            keeper = keepers.pop()
            asyncio.run_coroutine_threadsafe(lose(keeper, name), loop).result(10)

    async def lose(keeper: LeaseKeeper, name: str) -> None:
        await broker.run(reap(place.prefix, name, lease_ms=300))
        await keeper.lost(name)

    async with keeping(place, beats) as (keeper, identity, broker):
        first = identity.name
        keepers.append(keeper)
        await eventually(lambda: identity.name != first)

        # The first beat under a name is the loop's, the others are the thread's.
        await eventually(lambda: names.count(identity.name) >= 3)


async def test_what_ran_under_the_old_name_is_dropped_before_anything_begins_under_the_new_one(
    place: Place,
) -> None:
    """Else a job that is fetched while the first beat is retried would be dropped with the rest."""
    happened: list[str] = []
    async with keeping(place, happened.append) as (keeper, identity, broker):
        first = identity.name
        keeper.on_lost.append(lambda: happened.append("drop"))
        happened.clear()
        await broker.run(reap(place.prefix, first, lease_ms=300))
        await keeper.lost(first)

        assert happened.index("drop") < happened.index(identity.name)


async def test_a_job_whose_completion_a_power_cut_took_back_runs_again_on_the_same_worker() -> None:
    global hold
    hold = asyncio.Event()
    starts.clear()
    sizes.clear()
    with PrivateServer(appendonly=True, arguments=LOGGING) as server:
        logs[:] = (server.directory / "appendonlydir").glob("*.incr.aof")
        async with running(app, concurrency=1, url=server.url):
            job = await noting.enqueue()
            await job.result()
            await held.enqueue()
            await eventually(lambda: starts == ["noting", "held"])

            # A full worker has nothing to fetch: it does not notice that the server was away.
            await asyncio.to_thread(server.kill)
            with logs[0].open("r+b") as log:
                log.truncate(sizes[0])
            await asyncio.to_thread(server.restart)
            hold.set()

            await eventually(lambda: starts == ["noting", "held", "noting"])
            await job.result(timeout=10)


async def test_a_worker_says_goodbye_again_if_nobody_has_heard_it(place: Place) -> None:
    """Else its lease would run on, and what it holds would count as crashed."""
    async with proxy_to(place.url) as proxy:
        with app.connected_to(proxy.url):
            worker = Worker(app)
            runs = asyncio.create_task(worker.run())
            await worker.started.wait()
            proxy.is_up = False
            proxy.drop()
            worker.drain()
            await asyncio.sleep(0.3)  # it finds nobody meanwhile
            proxy.is_up = True
            await runs
            await app.aclose()
    assert place.admin("ZCARD", place.keys.leases) == 0
