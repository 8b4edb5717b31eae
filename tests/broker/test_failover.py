"""Sentinel and Cluster, on real processes: who connects asks where the server is."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from redis.crc import key_slot

from aioq.broker.broker import Broker, reap
from aioq.broker.keys import Keys
from aioq.broker.scripts import Limit, Settlement, beat, name_of, register
from aioq.broker.sync import SyncBroker
from aioq.broker.topology import parse
from aioq.broker.weather import Weather
from aioq.embedded import PrivateServer
from tests.broker.place import Admin, new_job
from tests.eventually import eventually

pytestmark = pytest.mark.broker

NewServer = Callable[..., PrivateServer]


def free_port() -> int:
    """Return a port that is free, and whose cluster bus, ten thousand above, can be one."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55_000:
            return port


@asynccontextmanager
async def broker_of(name: str, url: str) -> AsyncGenerator[Broker]:
    """Open the broker of an app, patient enough for a failover."""
    keys = Keys(name)
    broker = Broker(parse(url, prefix=keys.prefix), keys, enqueue_timeout=20)
    try:
        yield broker
    finally:
        await broker.aclose()


async def run_a_job(broker: Broker, job_id: str = "a") -> None:
    """Take a job through its whole life, with every script of a worker."""
    prefix, lanes = broker.keys.prefix, ["default:5"]
    registered = register(prefix, worker="w1", lease_ms=60_000, limits=[Limit("add", "5")])
    await broker.persist(registered, patience=20)
    beaten = beat(prefix, worker="w1", lease_ms=60_000, presence=b"", queues=["default"])
    assert (await broker.run(beaten)).alive
    created, *_ = await broker.enqueue(new_job(job_id))
    assert (await broker.enqueue(new_job(f"{job_id} too", due="+9000")))[0]
    fetched = await broker.fetch("w1", room=9, keep_ms=0, lanes=lanes)
    assert (created, [each.job_id.decode() for each in fetched.deliveries]) == (True, [job_id])
    assert await broker.recover("w1", epoch=1, known=[name_of(fetched.deliveries[0])]) == 0
    assert await broker.revoke([f"{job_id} too"], at_once=False, keep_ms=0) == [True]
    [delivery] = fetched.deliveries
    done = Settlement(delivery.job_id, delivery.entry_id, "c", 3_600_000, b"R")
    assert await broker.settle([done], dead_ms=9) == "K"
    assert (await broker.waiters.wait(job_id)).value == b"R"
    await broker.leave("w1")
    assert (await broker.run(reap(prefix, lease_ms=60_000))).workers == []


@contextmanager
def sentinel_of(program: Path, folder: Path, master: int) -> Generator[int]:
    """Run a Sentinel that watches a master; give its port."""
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor mymaster 127.0.0.1 {master} 1\n"
        "sentinel down-after-milliseconds mymaster 300\n"
        "sentinel failover-timeout mymaster 2000\n"
    )
    process = subprocess.Popen([program, config, "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def admin_of(server: PrivateServer) -> Generator[Admin]:
    admin = Admin(server.url)
    try:
        yield admin
    finally:
        admin.close()


async def test_a_failover_by_sentinel_is_nothing_but_a_lost_connection(
    program: Path, new_server: NewServer, tmp_path: Path
) -> None:
    ports = free_port(), free_port()
    master, replica = (new_server(port=port) for port in ports)
    with admin_of(replica) as admin:
        admin("REPLICAOF", "127.0.0.1", ports[0])
        await eventually(lambda: b"link_status:up" in admin("INFO", "replication"))
    with sentinel_of(program, tmp_path, ports[0]) as sentinel:
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel}/mymaster/0"
        await eventually(lambda: knows_a_replica(sentinel))
        async with broker_of("test", url) as broker:
            await run_a_job(broker, "before")
            with admin_of(replica) as admin:  # a replica may lag behind; what it lacks is lost
                await eventually(lambda: admin("EXISTS", "{test.0}:j:before"))
            master.kill()
            await run_a_job(broker, "after")
    with admin_of(replica) as admin:
        assert admin("ROLE")[0] == b"master"
        assert admin("EXISTS", "{test.0}:j:before", "{test.0}:j:after") == 2


def knows_a_replica(sentinel: int) -> bool:
    try:
        admin = Admin(f"redis://127.0.0.1:{sentinel}")
    except Weather:  # it is starting
        return False
    replicas = admin("SENTINEL", "REPLICAS", "mymaster")
    admin.close()
    return len(replicas) == 1


@asynccontextmanager
async def cluster(new_server: NewServer) -> AsyncGenerator[dict[int, Admin]]:
    """Run three nodes that share the slots; give an admin for each port."""
    ports = [free_port() for _ in range(3)]
    nodes = {port: Admin(new_server("--cluster-enabled", "yes", port=port).url) for port in ports}
    for index, node in enumerate(nodes.values()):
        node("CLUSTER", "ADDSLOTSRANGE", index * 5461, 16383 if index == 2 else index * 5461 + 5460)
        node("CLUSTER", "MEET", "127.0.0.1", ports[0])
    for node in nodes.values():
        await eventually(lambda node=node: b"cluster_state:ok" in node("CLUSTER", "INFO"))
        await eventually(lambda node=node: len(node("CLUSTER", "SLOTS")) == 3)
    try:
        yield nodes
    finally:
        for node in nodes.values():
            node.close()


async def test_each_app_of_a_cluster_finds_the_node_of_its_keys_and_follows_them(
    new_server: NewServer,
) -> None:
    async with cluster(new_server) as nodes:
        first = next(iter(nodes))
        url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{first}"
        used: set[int] = set()
        for name in "abcdef":
            async with broker_of(name, url) as broker:
                await run_a_job(broker)
                prefix = broker.keys.prefix
                used |= {port for port, node in nodes.items() if holds(node, prefix)}
                sync_broker = SyncBroker(broker.topology, broker.keys, enqueue_timeout=5)
                looked = await asyncio.to_thread(sync_broker.ask, "a")
                assert looked.value == b"R"
                sync_broker.close()
        assert used == set(nodes)


async def test_a_slot_that_moves_to_another_node_is_followed(new_server: NewServer) -> None:
    async with cluster(new_server) as nodes:
        here, there, _ = nodes
        url = f"redis+cluster://127.0.0.1:{here}"
        name = next(
            name for name in map(str, range(99)) if key_slot(Keys(name).prefix.encode()) <= 5460
        )
        async with broker_of(name, url) as broker:
            await broker.look("nobody")
            slot, new_owner = key_slot(broker.keys.prefix.encode()), nodes[there]("CLUSTER", "MYID")
            for node in nodes.values():
                node("CLUSTER", "SETSLOT", slot, "NODE", new_owner)
            await run_a_job(broker)
            assert holds(nodes[there], broker.keys.prefix)


def holds(node: Admin, prefix: str) -> bool:
    """Tell whether the keys of an app lie on this node."""
    return any(key.startswith(prefix.encode()) for key in node("KEYS", "*"))
