"""Waiting for the ends of jobs: one subscription, and no notification that must not be lost."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from aioq import Aioq
from aioq.broker import scripts
from aioq.broker.broker import Broker
from aioq.broker.connection import dial
from aioq.broker.scripts import End
from aioq.broker.weather import Refused
from aioq.core.codec import encode_value
from aioq.core.errors import BrokerUnavailable
from aioq.embedded import PrivateServer
from tests.broker.calls import deliver, enqueue, outcome, settle
from tests.broker.place import Place, broker_on, new_job
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

pytestmark = pytest.mark.broker

NewServer = Callable[..., PrivateServer]
DONE = End("c", b"R")


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waiters look again, and give a silent server up, after a moment."""
    monkeypatch.setattr("aioq.broker.waiters.ASK_AGAIN", 0.05)
    for module in ("waiters", "broker"):
        monkeypatch.setattr(f"aioq.broker.{module}.dial", partial(dial, timeout=0.2))


def waiting(broker: Broker, job_id: str = "a") -> asyncio.Task[End]:
    return asyncio.create_task(broker.waiters.wait(job_id))


def is_noted(place: Place, job_id: str = "a") -> bool:
    """Tell whether the server knows that somebody waits for a job."""
    return "waiters" in place.dump()[f"j:{job_id}"]


def complete(place: Place, value: bytes = b"R") -> None:
    deliveries = deliver(place)
    settle(place, *(outcome(each, "c", 3_600_000, value) for each in deliveries))


async def test_a_job_that_has_ended_is_answered_at_once(place: Place) -> None:
    enqueue(place, new_job("a"))
    complete(place)
    async with broker_on(place) as broker:
        assert await broker.waiters.wait("a") == DONE
        assert await broker.waiters.ask("a") == DONE


async def test_a_job_that_has_ended_has_its_result_however_short_one_would_wait(
    place: Place,
) -> None:
    enqueue(place, new_job("a"))
    complete(place, encode_value("done"))
    async with Aioq(place.url, name="test") as app:
        assert await app.job("a").result(timeout=0) == "done"


async def test_a_job_that_nobody_knows_is_answered_at_once(place: Place) -> None:
    async with broker_on(place) as broker:
        assert await broker.waiters.wait("nobody") == End("", b"")


async def test_a_result_that_has_expired_is_said_to_be_gone(place: Place) -> None:
    enqueue(place, new_job("a"))
    complete(place, b"R" * 99)
    place.admin("DEL", f"{place.prefix}v:a")
    async with broker_on(place) as broker:
        assert await broker.waiters.wait("a") == End("c", None)


async def test_only_asking_waits_for_nothing(place: Place) -> None:
    enqueue(place, new_job("a"))
    async with broker_on(place) as broker:
        assert await broker.waiters.ask("a") == End("-", b"")
        assert len(place.admin.others()) == 1, "no subscription is needed for that"


@pytest.mark.parametrize("size", [0, 1, 64, 65, 8192, 8193, 100_000])
async def test_who_waits_is_told_the_value_whatever_its_size(place: Place, size: int) -> None:
    enqueue(place, new_job("a"))
    async with broker_on(place) as broker:
        waiter = waiting(broker)
        await eventually(lambda: is_noted(place))
        complete(place, b"R" * size)
        assert await waiter == End("c", b"R" * size)


async def test_a_thousand_waiters_share_one_subscription(place: Place) -> None:
    names = [str(n) for n in range(1000)]
    for start in range(0, 1000, 250):
        enqueue(place, *map(new_job, names[start : start + 250]))
    async with broker_on(place) as broker:
        waiters = [waiting(broker, name) for name in names]
        await eventually(lambda: is_noted(place, "999"))
        assert len(place.admin.others()) == 2
        for _ in range(4):
            complete(place)
        assert set(await asyncio.gather(*waiters)) == {DONE}


async def test_many_may_wait_for_one_job(place: Place) -> None:
    enqueue(place, new_job("a"))
    place.run(scripts.wait(place.prefix, client="other", job_ids=["a"]))
    async with broker_on(place) as broker:
        waiters = [waiting(broker) for _ in range(3)]
        await eventually(lambda: place.dump()["j:a"]["waiters"].startswith("other "))
        complete(place)
        assert set(await asyncio.gather(*waiters)) == {DONE}


async def test_who_stops_waiting_leaves_the_others_alone(place: Place) -> None:
    enqueue(place, new_job("a"))
    async with broker_on(place) as broker:
        gone, stays = waiting(broker), waiting(broker)
        await eventually(lambda: is_noted(place))
        gone.cancel()
        complete(place)
        assert await stays == DONE
        assert gone.cancelled()


async def test_a_notification_that_was_lost_with_its_connection_is_made_up_for(
    place: Place,
) -> None:
    enqueue(place, new_job("a"))
    async with broker_on(place) as broker:
        waiter = waiting(broker)
        await eventually(lambda: is_noted(place))
        assert place.admin("CLIENT", "KILL", "TYPE", "pubsub") == 1
        complete(place)  # nobody hears of it
        async with asyncio.timeout(3):
            assert await waiter == DONE


async def test_a_notification_that_never_came_is_made_up_for(place: Place, restless: None) -> None:
    enqueue(place, new_job("a"))
    async with broker_on(place) as broker:
        waiter = waiting(broker)
        await eventually(lambda: is_noted(place))
        place.admin("HDEL", f"{place.prefix}j:a", "w")  # as by a failover to an older replica
        complete(place)
        async with asyncio.timeout(3):
            assert await waiter == DONE


async def test_waiters_live_through_lost_connections(place: Place) -> None:
    enqueue(place, new_job("a"))
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        waiter = waiting(broker)
        await eventually(lambda: is_noted(place))
        for _ in range(3):
            before = proxy.accepted
            proxy.drop()
            await eventually(lambda before=before: proxy.accepted >= before + 2)
        complete(place)
        async with asyncio.timeout(3):
            assert await waiter == DONE


async def test_a_subscription_that_is_half_open_is_replaced(place: Place, restless: None) -> None:
    enqueue(place, new_job("a"))
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        waiter = waiting(broker)
        await eventually(lambda: is_noted(place))
        proxy.stall()
        complete(place)
        async with asyncio.timeout(3):
            assert await waiter == DONE


async def test_waiters_live_through_a_restart_of_the_server(
    place: Place, new_server: NewServer
) -> None:
    server = new_server(appendonly=True)
    with Place(server.url) as other, pytest.MonkeyPatch.context() as patch:
        patch.setattr("aioq.broker.waiters.FIRST_PATIENCE", 20)
        enqueue(other, new_job("a"))
        async with broker_on(other) as broker:
            waiter = waiting(broker)
            await eventually(lambda: is_noted(other))
            server.kill()
            await asyncio.to_thread(server.restart)
            other.connect()
            complete(other)
            async with asyncio.timeout(5):
                assert await waiter == DONE


async def test_a_server_that_is_away_from_the_start_is_given_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioq.broker.waiters.FIRST_PATIENCE", 0.1)
    async with broker_on(place, url="redis://127.0.0.1:1") as broker:
        with pytest.raises(BrokerUnavailable, match="cannot reach"):
            await broker.waiters.wait("a")


async def test_closing_ends_every_wait_and_leaves_no_connection(place: Place) -> None:
    enqueue(place, new_job("a"), new_job("b"))
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        registered = waiting(broker)
        await eventually(lambda: is_noted(place))
        proxy.delay = 0.05
        under_way, collected = waiting(broker, "b"), waiting(broker, "b")
        await asyncio.sleep(0)  # one question travels, the other is to follow at the turn's end
        await broker.aclose()
        proxy.delay = 0.0
        async with asyncio.timeout(3):
            for each in (registered, under_way, collected):
                with pytest.raises(BrokerUnavailable):
                    await each
        await eventually(lambda: proxy.open == 0, seconds=2)


async def test_a_closed_broker_waits_again_when_it_is_asked_to(place: Place) -> None:
    enqueue(place, new_job("a"))
    async with broker_on(place) as broker:
        complete(place)
        assert await broker.waiters.wait("a") == DONE
        await broker.aclose()
        assert await broker.waiters.wait("a") == DONE


async def test_a_subscription_that_the_acl_forbids_is_a_refusal(
    place: Place, new_server: NewServer
) -> None:
    server = new_server()
    with Place(server.url) as other:
        enqueue(other, new_job("a"))
        other.admin("ACL", "SETUSER", "few", "on", ">pw", "~*", "resetchannels", "+@all")
        async with broker_on(other, url=server.url + "?username=few&password=pw") as broker:
            with pytest.raises(Refused, match="ACL"):
                async with asyncio.timeout(3):
                    await broker.waiters.wait("a")


async def test_who_waits_is_not_stranded_by_a_subscription_that_is_refused_later(
    place: Place, new_server: NewServer, restless: None
) -> None:
    """The record has the truth, and asking is still allowed (G14)."""
    server = new_server()
    with Place(server.url) as other:
        enqueue(other, new_job("a"))
        other.admin("ACL", "SETUSER", "few", "on", ">pw", "~*", "&*", "+@all")
        async with broker_on(other, url=server.url + "?username=few&password=pw") as broker:
            waiter = waiting(broker)
            await eventually(lambda: is_noted(other))
            other.admin("ACL", "SETUSER", "few", "resetchannels")
            complete(other)
            async with asyncio.timeout(3):
                assert await waiter == DONE
