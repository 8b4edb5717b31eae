"""What a worker asks of its server before it takes a job."""

import asyncio
import logging
import re
import time
from collections.abc import Callable

import pytest

from aioq import Aioq, BrokerFull, BrokerUnavailable, JobState, Settings
from aioq.broker.server import ServerFacts, UnfitServer
from aioq.embedded import PrivateServer
from aioq.testing import running
from aioq.worker import Worker, startup
from tests.broker.place import Place, broker_on, new_job
from tests.broker.users import user
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

NewServer = Callable[..., PrivateServer]

app = Aioq(name="test", settings=Settings(startup_timeout=5))


@app.task
async def add(x: int, y: int) -> int:
    return x + y


async def check(place: Place, url: str | None = None, **settings: object) -> ServerFacts:
    given: dict[str, object] = {"startup_timeout": 5, **settings}
    async with broker_on(place, url=url) as broker:
        return await startup.check(broker, Settings(**given))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_would_evict_is_refused(new_server: NewServer, policy: str) -> None:
    server = new_server("--maxmemory-policy", policy)
    with pytest.raises(UnfitServer) as caught:
        async with running(app, url=server.url):
            pass
    message = str(caught.value)
    assert isinstance(caught.value, BrokerUnavailable)
    assert f"{server.url} has the maxmemory-policy {policy}" in message
    assert "CONFIG SET maxmemory-policy noeviction" in message
    assert "AIOQ_ALLOW_EVICTION=true" in message


async def test_whoever_accepts_the_loss_may_start(
    new_server: NewServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = new_server("--maxmemory-policy", "allkeys-lru")
    monkeypatch.setenv("AIOQ_ALLOW_EVICTION", "true")
    careless = Aioq()
    careless.task(name="add")(add.function)
    async with running(careless, url=server.url):
        pass
    assert "its maxmemory-policy is allkeys-lru, and allow_eviction is set" in caplog.text


async def test_a_policy_is_mended_as_the_message_says(new_server: NewServer) -> None:
    server = new_server("--maxmemory-policy", "allkeys-lru")
    with Place(server.url) as place:
        place.admin("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert (await check(place)).policy == "noeviction"


OLD = (b"redis_version:7.", b"redis_version:5.")


@pytest.mark.broker
async def test_a_server_that_is_too_old_is_refused(place: Place) -> None:
    async with proxy_to(place.url) as proxy:
        proxy.claims = OLD
        with pytest.raises(
            UnfitServer, match=r"aioq needs Redis 6\.2 or newer, or Valkey"
        ) as caught:
            await check(place, proxy.url)
    assert re.search(r" is (Redis 5\.|Valkey .*, which is like Redis 5\.)", str(caught.value))


async def test_the_version_comes_before_what_an_old_server_cannot_do(place: Place) -> None:
    """Else the error would be about a command that it does not know."""
    async with proxy_to(place.url) as proxy:
        proxy.claims = OLD
        with user(place.url, "joe", "+info"), pytest.raises(UnfitServer, match="needs Redis"):
            await check(place, proxy.url.replace("//", "//joe:secret@"))


async def test_the_server_is_told_in_one_line(
    new_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = new_server(appendonly=True)
    with Place(server.url) as place:
        facts = await check(place)
    told = f"The server is {facts.title}; persistence: append-only file, fsync every second."
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [("INFO", told)]


async def test_a_server_that_keeps_nothing_is_a_warning_outside_tests(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(app, url=place.url):
        pass
    assert "persistence: none" in caplog.text
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    await check(place)
    [warning] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "persistence: none: a restart of the server loses every job." in warning.getMessage()


async def test_a_full_server_is_a_warning_and_is_drained(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with Aioq(place.url, name="test") as client:
        jobs = [await client.send_task(add.name, args=(n, 1)) for n in range(20)]
        place.admin("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(BrokerFull):
            await client.send_task(add.name, args=(0, 0))
        async with running(app, url=place.url) as worker:
            await worker.run_until_idle()
        place.admin("CONFIG", "SET", "maxmemory", 0)
        assert [await job.status() for job in jobs] == [JobState.SUCCESS] * 20
    assert "The server is full: nothing can be enqueued until jobs have been done." in caplog.text


async def test_a_server_that_is_away_is_waited_for(place: Place) -> None:
    async with proxy_to(place.url) as proxy:
        proxy.is_up = False
        checking = asyncio.create_task(check(place, proxy.url, startup_timeout=None))
        await eventually(lambda: proxy.accepted >= 3)  # it has been tried more than once
        assert not checking.done()
        proxy.is_up = True
        assert (await checking).policy == "noeviction"


async def test_a_connection_that_is_lost_in_the_middle_is_tried_again(place: Place) -> None:
    async with proxy_to(place.url) as proxy:
        for count in (10, 500, 3000, 9000):
            proxy.cut_after(count)
            await check(place, proxy.url)
    assert place.snapshot() == {}


async def test_a_server_that_loads_its_data_is_waited_for(new_server: NewServer) -> None:
    delay = ("--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024")
    server = new_server(*delay, appendonly=True)
    place = Place(server.url)
    async with broker_on(place) as broker:
        for start in range(0, 1000, 250):
            await broker.enqueue_batch([new_job(str(start + n)) for n in range(250)])
    place.admin.close()
    server.kill()
    checking = asyncio.create_task(check(place, startup_timeout=None))
    await asyncio.to_thread(server.restart)
    assert (await checking).appendonly


async def test_a_replica_is_waited_for_until_it_is_the_master(new_server: NewServer) -> None:
    with Place(new_server().url) as place:
        place.admin("REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(BrokerUnavailable, match=r"READONLY.*tried for 0\.3 s"):
            await check(place, startup_timeout=0.3)
        place.admin("REPLICAOF", "NO", "ONE")
        await check(place)


async def test_patience_has_an_end(place: Place) -> None:
    with pytest.raises(BrokerUnavailable, match=r"cannot reach .*tried for 0\.2 s"):
        await check(place, "redis://localhost:1", startup_timeout=0.2)


async def test_an_unfit_server_is_told_at_once(new_server: NewServer) -> None:
    """Waiting would not make it fit."""
    server = new_server("--maxmemory-policy", "allkeys-lru")
    begun = time.monotonic()
    careful = Aioq(server.url, settings=Settings(startup_timeout=600))
    with pytest.raises(UnfitServer):
        await Worker(careful).run()
    await careful.aclose()
    assert time.monotonic() - begun < 60


async def test_a_glance_does_not_wait(place: Place) -> None:
    async with broker_on(place) as broker:
        facts = await startup.glance(broker)
        assert facts is not None
        assert facts.persistence.startswith("none")
    async with broker_on(place, url="redis://localhost:1") as broker:
        assert await startup.glance(broker) is None
    async with proxy_to(place.url) as proxy:
        proxy.stall()
        proxy.delay = 60
        async with broker_on(place, url=proxy.url) as broker:
            assert await startup.glance(broker, seconds=0.05) is None
