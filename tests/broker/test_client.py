"""One app in many event loops: each has its own connections, and none is left behind."""

import asyncio
import gc
import threading
import weakref

import pytest

from aioq.broker.broker import Broker
from aioq.broker.client import Client
from aioq.broker.scripts import look
from tests.broker.calls import deliver
from tests.broker.place import Place, new_job

pytestmark = pytest.mark.broker


def client_of(place: Place, asked: list[str] | None = None) -> Client:
    def locate() -> str:
        if asked is not None:
            asked.append(place.url)
        return place.url

    return Client("test", locate, enqueue_timeout=5)


async def test_the_server_is_located_once_and_at_the_first_use(place: Place) -> None:
    asked: list[str] = []
    client = client_of(place, asked)
    assert asked == []
    assert client.broker() is client.broker()
    client.sync()
    assert asked == [place.url]
    await client.aclose()


def test_every_event_loop_has_connections_of_its_own(place: Place) -> None:
    client = client_of(place)

    async def enqueue(name: str) -> None:
        await client.broker().enqueue(new_job(name))

    for name in "abc":
        asyncio.run(enqueue(name))
    threads = [threading.Thread(target=asyncio.run, args=(enqueue(name),)) for name in "def"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.job_id for each in deliver(place)} == {name.encode() for name in "abcdef"}


def test_an_event_loop_that_is_gone_is_forgotten(place: Place) -> None:
    """Or each `asyncio.run` of a long-lived process would cost memory for ever."""
    client = client_of(place)
    brokers: list[weakref.ref[Broker]] = []

    async def ask() -> None:
        brokers.append(weakref.ref(client.broker()))
        await client.broker().look("a")

    for _ in range(5):
        asyncio.run(ask())
    gc.collect()
    assert [broker() for broker in brokers[:-1]] == [None] * 4


async def test_closing_closes_what_this_loop_and_sync_code_have_opened(place: Place) -> None:
    client = client_of(place)
    await client.broker().look("a")
    await asyncio.to_thread(client.sync().run, look(place.prefix, job_id="a"))
    assert len(place.admin.others()) == 2
    await client.aclose()


async def test_for_a_while_it_may_talk_to_another_server(place: Place) -> None:
    client = Client("test", lambda: "redis://127.0.0.1:1", enqueue_timeout=0.1)
    with client.elsewhere(place.url):
        await client.broker().enqueue(new_job("a"))
        await client.aclose()
    assert client.topology.url == "redis://127.0.0.1:1"
    assert [each.job_id for each in deliver(place)] == [b"a"]


def test_sync_code_of_many_threads_shares_one_connection(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(place)
    threads = [threading.Thread(target=lambda: made.append(client.sync())) for _ in range(20)]
    made: list[object] = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    client.sync().close()
