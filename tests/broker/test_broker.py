"""The broker: many callers, few calls, and nothing left behind."""

import asyncio

import pytest

from aioq.broker.broker import Broker
from aioq.broker.topology import parse
from aioq.core.errors import BrokerFull
from tests.broker.calls import deliver, enqueue
from tests.broker.place import Place, broker_on, new_job

pytestmark = pytest.mark.broker


def calls_of(place: Place, command: str) -> int:
    """Return how often the server has run a command."""
    for line in place.admin("INFO", "commandstats").decode().splitlines():
        if line.startswith(f"cmdstat_{command}:"):
            return int(line.partition("calls=")[2].partition(",")[0])
    return 0


async def test_what_one_turn_enqueues_travels_in_few_calls_in_its_order(place: Place) -> None:
    async with broker_on(place) as broker:
        await broker.enqueue(new_job("first"))
        before = calls_of(place, "evalsha")
        names = [f"{n:04}" for n in range(1000)]
        made = await asyncio.gather(*(broker.enqueue(new_job(name)) for name in names))
        assert all(created for created, *_ in made)
        assert calls_of(place, "evalsha") - before <= 6
    found = [each.job_id.decode() for _ in range(5) for each in deliver(place)]
    assert found == ["first", *names]


async def test_each_caller_of_a_turn_gets_its_own_answer(place: Place) -> None:
    enqueue(place, new_job("mine", nonce="n1"))
    async with broker_on(place) as broker:
        await broker.connect()
        jobs = [
            new_job("a"),
            new_job("mine", nonce="n2"),
            new_job("b"),
            new_job("mine", nonce="n1"),
        ]
        made = await asyncio.gather(*map(broker.enqueue, jobs))
        assert [created for created, *_ in made] == [True, False, True, True]


async def test_a_caller_that_is_cancelled_does_not_take_its_job_back(place: Place) -> None:
    async with broker_on(place) as broker:
        await broker.connect()
        gone = asyncio.ensure_future(broker.enqueue(new_job("a")))
        stays = asyncio.ensure_future(broker.enqueue(new_job("b")))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await stays)[0]
    assert [each.job_id for each in deliver(place)] == [b"a", b"b"]


async def test_closing_waits_for_what_was_enqueued(place: Place) -> None:
    async with broker_on(place) as broker:
        sending = [asyncio.ensure_future(broker.enqueue(new_job(str(n)))) for n in range(300)]
        await asyncio.sleep(0)
    assert all(task.result()[0] for task in sending)


async def test_who_serves_a_queue_is_asked_now_and_then(place: Place) -> None:
    async with broker_on(place) as broker:
        assert await broker.enqueue(new_job("a")) == (True, ["default"], None)
        assert await broker.enqueue(new_job("b")) == (True, [], None)
        assert await broker.enqueue(new_job("c", lane="mail:5")) == (True, ["mail"], None)


async def test_a_full_server_is_told_to_every_caller_at_once(place: Place) -> None:
    async with broker_on(place, enqueue_timeout=60) as broker:
        await broker.connect()
        place.admin("CONFIG", "SET", "maxmemory", 1)
        made = await asyncio.gather(
            *(broker.enqueue(new_job(str(n))) for n in range(9)), return_exceptions=True
        )
        assert {type(each) for each in made} == {BrokerFull}
        place.admin("CONFIG", "SET", "maxmemory", 0)
        assert (await broker.enqueue(new_job("a")))[0]


async def test_a_job_that_cannot_be_sent_hurts_no_other_and_lets_the_broker_close(
    place: Place,
) -> None:
    """Such as `app.send_task` with a lone surrogate in the name."""
    async with asyncio.timeout(5), broker_on(place) as broker:
        await broker.connect()
        with pytest.raises(UnicodeEncodeError):
            await broker.enqueue(new_job("a", task="\ud800"))
        assert (await broker.enqueue(new_job("b")))[0]


def test_a_loop_that_ends_without_closing_leaves_no_connection(place: Place) -> None:
    async def main() -> None:
        broker = Broker(parse(place.url, prefix=place.prefix), place.keys, enqueue_timeout=5)
        await broker.enqueue(new_job("a"))
        await broker.waiters.ask("a")

    asyncio.run(main())


async def test_closing_twice_and_closing_what_was_never_opened_is_fine(place: Place) -> None:
    async with broker_on(place) as broker:
        await broker.aclose()
        await broker.look("a")
        await broker.aclose()
        await broker.aclose()
