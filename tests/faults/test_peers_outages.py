"""Outages as others have them go wrong: the worker spins, hangs, loses a job or does one twice."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from aioq import Aioq, BrokerFull, JobState, Settings
from aioq.embedded import PrivateServer
from aioq.embedded.server import Answer, answer
from aioq.testing import running
from aioq.worker import Worker
from aioq.worker.identity import Identity
from aioq.worker.lease import LeaseKeeper
from tests.broker.place import Admin
from tests.eventually import eventually
from tests.faults.proxy import Proxy, proxy_to

NewServer = Callable[..., PrivateServer]
DURABLE = ("--appendfsync", "always")
"""While the disk is busy, any other server may write late what it has acknowledged."""
starts: list[str] = []
hold: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_has_started() -> None:
    global hold
    hold = asyncio.Event()
    starts.clear()


def make_app(**settings: float) -> Aioq:
    app = Aioq(settings=Settings(**settings))  # pyright: ignore[reportArgumentType]

    @app.task(name="quick")
    async def quick(name: str) -> str:
        starts.append(name)
        return name

    @app.task(name="held")
    async def held(name: str) -> str:
        starts.append(name)
        await hold.wait()
        return name

    return app


@asynccontextmanager
async def behind_a_proxy(
    server: PrivateServer, app: Aioq, client: Aioq
) -> AsyncGenerator[tuple[Worker, Proxy]]:
    """Run a worker whose connections go through a proxy; the client's do not."""
    with client.connected_to(server.url):
        async with proxy_to(server.url) as proxy, running(app, url=proxy.url) as worker:
            yield worker, proxy
            proxy.is_up = True
        await client.aclose()


async def pending(app: Aioq) -> int:
    """Count the entries that some worker holds."""
    broker = app.client.broker()
    return (await broker.command("XPENDING", f"{broker.keys.prefix}s:default:5", "w"))[0]


async def test_a_blip_while_a_long_job_runs_keeps_no_other_job_waiting() -> None:
    """A worker that lets its jobs end before it connects again stands still until they do."""
    app = make_app()
    async with running(app) as worker:
        broker = app.client.broker()
        long = await app.send_task("held", args=("long",))
        await eventually(lambda: starts == ["long"])
        for n in range(3):
            await broker.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            job = await app.send_task("quick", args=(f"{n}",))
            assert await job.result(timeout=20) == f"{n}"

        assert worker.running == 1
        assert await pending(app) == 1
        hold.set()
        assert await long.result(timeout=20) == "long"
    assert starts == ["long", "0", "1", "2"]


async def test_a_worker_without_a_server_neither_spins_nor_fills_the_log(
    new_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One that asks again at once takes a whole processor, and a line of the log each time."""
    app, client = make_app(lease=1), make_app()
    async with behind_a_proxy(new_server(), app, client) as (worker, proxy):
        caplog.clear()
        proxy.is_up = False
        proxy.drop()
        tries, cpu = proxy.accepted, time.process_time()
        await asyncio.sleep(3)  # long enough for a loop that spins to show
        tries, cpu = proxy.accepted - tries, time.process_time() - cpu
        proxy.is_up = True
        job = await client.send_task("quick", args=("a",))
        assert await job.result(timeout=20) == "a"
        await eventually(lambda: "The server is back" in caplog.text)

    assert 3 <= tries < 150
    assert cpu < 1.5
    said = [each.getMessage() for each in caplog.records if each.name == "aioq.worker"]
    assert [each[: len("The server is away")] for each in said] == [
        "The server is away",
        "The server is back",
    ]
    assert worker.has_left


async def test_each_outage_is_one_line_and_its_end_another(
    new_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_server(*DURABLE, appendonly=True)
    app = make_app()
    async with running(app, url=server.url):
        for n in range(2):
            caplog.clear()
            server.kill()
            await eventually(lambda: "The server is away" in caplog.text)
            await asyncio.to_thread(server.restart)
            job = await app.send_task("quick", args=(f"{n}",))
            assert await job.result(timeout=20) == f"{n}"
            await eventually(lambda: "The server is back" in caplog.text)

            assert caplog.text.count("The server is away") == 1
            assert caplog.text.count("The server is back") == 1


async def test_a_replica_is_an_outage_until_it_is_a_master_again(new_server: NewServer) -> None:
    """After a failover the old address answers, and refuses every write."""
    server = new_server()
    app = make_app(enqueue_timeout=30)
    async with running(app, url=server.url) as worker:
        job = await app.send_task("held", args=("before",))
        await eventually(lambda: starts == ["before"])
        admin = Admin(server.url)
        admin("CONFIG", "SET", "replica-serve-stale-data", "no")
        admin("REPLICAOF", "127.0.0.1", "1")
        hold.set()
        await eventually(lambda: worker.running == 0)
        sending = asyncio.create_task(app.send_task("quick", args=("after",)))
        await asyncio.sleep(0.3)  # so that it is refused a few times
        assert not sending.done()
        admin("REPLICAOF", "NO", "ONE")
        admin.close()

        assert await job.result(timeout=20) == "before"
        assert await (await sending).result(timeout=20) == "after"
    assert starts == ["before", "after"]


async def test_a_server_that_loads_its_data_is_an_outage_until_it_has(
    new_server: NewServer,
) -> None:
    """It accepts connections, and answers every command with an error."""
    slow = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    server = new_server(*DURABLE, *slow, appendonly=True)
    app = make_app(enqueue_timeout=60)
    async with running(app, url=server.url) as worker:
        await (
            app.tasks["quick"]
            .options(countdown=3600)
            .enqueue_many([(f"{n}",) for n in range(1000)])
        )
        job = await app.send_task("held", args=("before",))
        await eventually(lambda: starts == ["before"])
        server.kill()
        restarting = asyncio.create_task(asyncio.to_thread(server.restart))
        socket_path = Path(unquote(urlsplit(server.url).path))
        await eventually(lambda: answer(socket_path) is Answer.LOADING, seconds=30)
        hold.set()

        assert await job.result(timeout=40) == "before"
        later = await app.send_task("quick", args=("later",))
        assert await later.result(timeout=40) == "later"
        await restarting
        assert not worker.has_left


@pytest.mark.parametrize("reply", ["the token", "the fetch"])
async def test_a_delivery_whose_reply_is_lost_waits_for_no_lease_and_runs_once(
    new_server: NewServer, reply: str
) -> None:
    """The server has handed the job out, and nobody knows: until some timeout nobody runs it."""
    app, client = make_app(lease=3600), make_app()
    async with behind_a_proxy(new_server(), app, client) as (worker, proxy):
        broker = client.client.broker()

        async def is_idle() -> bool:
            """Tell whether each connection of the worker has come to its first pause."""
            clients = await broker.command("CLIENT", "LIST")
            return [clients.count(b" cmd=" + c) for c in (b"blpop ", b"subscr", b"eval")] == [
                1,
                1,
                2,
            ]

        await eventually(is_idle)
        bell = broker.keys.bell("default")
        token = f"*2\r\n${len(bell)}\r\n{bell}\r\n$0\r\n\r\n"
        proxy.cut_after(3 if reply == "the token" else len(token) + 3)
        job = await client.send_task("quick", args=("a",))

        assert await job.result(timeout=30) == "a"
        info = await job.info()
        assert (starts, info.crashes, info.retries) == (["a"], 0, 0)
        assert info.deliveries == (1 if reply == "the token" else 2)
        assert worker.running == 0


@pytest.mark.parametrize("moment", ["idle", "running", "settling"])
async def test_connections_that_go_deaf_strand_nobody(
    new_server: NewServer, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open connection is open to the last byte that never comes: each read has an end."""
    for module in ("broker.doorbell", "worker.consumer"):  # 15 s, which is long for a test
        monkeypatch.setattr(f"aioq.{module}.PATIENCE", 1)
    app, client = make_app(lease=1, enqueue_timeout=1), make_app()
    async with behind_a_proxy(new_server(), app, client) as (worker, proxy):
        job = await client.send_task("held", args=("a",))
        await eventually(lambda: starts == ["a"])
        if moment != "running":
            hold.set()
        if moment == "idle":
            await job.result(timeout=20)
        name = worker.identity.name
        proxy.stall()
        hold.set()

        assert await job.result(timeout=20) == "a"
        other = await client.send_task("quick", args=("b",))
        assert await other.result(timeout=30) == "b"
        assert (starts, worker.identity.name) == (["a", "b"], name)


async def test_a_flushed_server_costs_a_few_commands_and_a_few_lines(
    new_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A read from a group that is gone answers at once, and so hundreds of times a second."""
    server = new_server()
    app = make_app(lease=1)
    async with running(app, url=server.url):
        await (await app.send_task("quick", args=("before",))).result(timeout=20)
        admin = Admin(server.url)
        caplog.clear()
        admin("FLUSHALL")
        before = commands(admin)
        await asyncio.sleep(2)  # long enough for a loop that spins to show
        spent = commands(admin) - before
        job = await app.send_task("quick", args=("after",))

        assert await job.result(timeout=20) == "after"
        admin.close()
    assert spent < 200  # what scripts call counts too: a beat is about a dozen
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) <= 3


def commands(admin: Admin) -> int:
    stats = dict(line.split(":") for line in admin("INFO", "stats").decode().split() if ":" in line)
    return int(stats["total_commands_processed"])


async def test_what_was_enqueued_before_a_group_is_gone_is_run(new_server: NewServer) -> None:
    """A group that is made again for new messages only skips those that are there."""
    server = new_server()
    app = make_app()
    with app.connected_to(server.url):
        jobs = [await app.send_task("quick", args=(f"{n}",)) for n in range(5)]
        broker = app.client.broker()
        stream = f"{broker.keys.prefix}s:default:5"
        await broker.command("XGROUP", "CREATE", stream, "w", "$")
        await broker.command("XGROUP", "DESTROY", stream, "w")
        async with running(app, url=server.url):
            for job in jobs:
                await job.result(timeout=20)
    assert starts == [f"{n}" for n in range(5)]


async def test_a_full_server_refuses_at_once_and_is_drained(new_server: NewServer) -> None:
    """Where the server refuses what a worker needs to write, full it stays."""
    server = new_server()
    app = make_app(lease=1, enqueue_timeout=60)
    with app.connected_to(server.url):
        jobs = [await app.send_task("quick", args=(f"{n}",)) for n in range(50)]
        later = await app.send_task("quick", args=("later",), countdown=0.5)
        admin = Admin(server.url)
        admin("CONFIG", "SET", "maxmemory", 1)
        async with asyncio.timeout(30):  # not tried for the 60 s that an outage is given
            with pytest.raises(BrokerFull):
                await app.send_task("quick", args=("refused",))
        async with running(app, url=server.url) as worker:
            name = worker.identity.name
            for job in (*jobs, later):
                await job.result(timeout=20)
            await asyncio.sleep(1.2)  # the lease must be renewed too
            assert worker.identity.name == name
            admin("CONFIG", "SET", "maxmemory", 0)
            job = await app.send_task("quick", args=("more",))
            assert await job.result(timeout=20) == "more"
        admin.close()
    assert "refused" not in starts


async def test_an_outage_does_not_turn_a_queued_job_into_another_state(
    new_server: NewServer,
) -> None:
    server = new_server(*DURABLE, appendonly=True)
    app = make_app(enqueue_timeout=30)
    with app.connected_to(server.url):
        job = await app.send_task("quick", args=("a",))
        delayed = await app.send_task("quick", args=("b",), countdown=3600)
        server.kill()
        await asyncio.to_thread(server.restart)
        assert await job.status() is JobState.PENDING
        assert await delayed.status() is JobState.PENDING
        async with running(app, url=server.url):
            assert await job.result(timeout=20) == "a"
            assert await delayed.status() is JobState.PENDING


async def test_an_outage_longer_than_the_lease_takes_no_job_from_anybody(
    new_server: NewServer,
) -> None:
    """Where each lease simply runs out, the first worker that is back reaps all the others."""
    server = new_server(*DURABLE, appendonly=True)
    apps = [make_app(lease=2) for _ in range(5)]
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(running(app, url=server.url)) for app in apps]
        jobs = [await apps[0].send_task("held", args=(f"{n}",)) for n in range(20)]
        await eventually(lambda: len(starts) == 20)
        names = [worker.identity.name for worker in workers]
        server.kill()
        await asyncio.sleep(2.5)  # every lease is over; that is what is tested
        await asyncio.to_thread(server.restart)
        hold.set()
        for job in jobs:
            await job.result(timeout=20)
            assert (await job.info()).deliveries == 1
        assert [worker.identity.name for worker in workers] == names
    assert len(starts) == 20


async def test_who_keeps_a_short_lease_asks_often_while_the_server_is_away(
    new_server: NewServer,
) -> None:
    """A backoff that outgrows the lease turns an outage shorter than it into the loss of it."""
    app = make_app(lease=1)
    server = new_server()
    async with proxy_to(server.url) as proxy:
        with app.connected_to(proxy.url):
            keeper = LeaseKeeper(
                app.client.broker(),
                Identity(),
                lease=1,
                queues=["default"],
                limits=[],
                presence=lambda: b"",
            )
            await keeper.register()
            keeper.start()
            proxy.is_up = False
            proxy.drop()
            tries = proxy.accepted
            await asyncio.sleep(2)
            tries = proxy.accepted - tries
            keeper.stop()
            await app.aclose()
    assert 15 <= tries < 200
