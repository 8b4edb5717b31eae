"""The line of a bucket, as those see it who wait there: on real connections, in real time."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from aioq.broker.broker import Broker
from aioq.broker.limits import LimitStore
from aioq.broker.tickets import Line
from aioq.core.bucket import TokenBucket
from aioq.core.errors import BrokerUnavailable
from aioq.embedded import PrivateServer
from tests.broker.place import Place, broker_on
from tests.eventually import eventually
from tests.faults.proxy import proxy_to

pytestmark = pytest.mark.broker

HOURLY = TokenBucket(1, per=3600)
WAITING = """
import asyncio, sys
from aioq import Aioq, TokenBucket

app = Aioq(sys.argv[1], name="test")

async def main():
    limiter = app.limiter("stripe", TokenBucket(10, burst=1))
    await limiter.acquire()
    print("served", flush=True)
    await limiter.acquire()
    while True:
        print("again", flush=True)
        await limiter.acquire()

asyncio.run(main())
"""
"""Another process that wants every token there is."""


async def nothing() -> None:
    """Declare nothing."""


def line_on(broker: Broker, bucket: TokenBucket) -> Line:
    return Line(broker, "stripe:", bucket.numbers.text, declare=nothing)


def in_line(place: Place) -> int:
    return place.admin("ZCARD", f"{place.prefix}aw:stripe:")


async def leave(*waiters: "asyncio.Task[None]") -> None:
    for waiter in waiters:
        waiter.cancel()
        with suppress(asyncio.CancelledError):
            await waiter


async def test_those_who_came_first_are_served_first_wherever_they_wait(place: Place) -> None:
    served: list[int] = []

    async def wait(line: Line, number: int) -> None:
        await line.acquire(1)
        served.append(number)

    bucket = TokenBucket(50, burst=1)
    async with broker_on(place) as one, broker_on(place) as other:
        lines = [line_on(one, bucket), line_on(other, bucket)]
        await lines[0].acquire(1)
        place.admin("HSET", f"{place.prefix}lr", "b:stripe", HOURLY.numbers.text)
        waiters: list[asyncio.Task[None]] = []
        for number in range(10):
            waiters.append(asyncio.create_task(wait(lines[number % 2], number)))
            await eventually(lambda count=number + 1: in_line(place) == count)
        await LimitStore(one).change("b:stripe", "")
        await asyncio.gather(*waiters)
    assert served == list(range(10))


async def test_no_token_comes_before_its_time(place: Place) -> None:
    bucket = TokenBucket(100, burst=5)
    async with broker_on(place) as one, broker_on(place) as other:
        lines = [line_on(one, bucket), line_on(other, bucket)]
        began = time.monotonic()
        granted: list[float] = []

        async def wait(line: Line) -> None:
            await line.acquire(1)
            granted.append(time.monotonic() - began)

        await asyncio.gather(*(wait(lines[n % 2]) for n in range(40)))
    # A hundredth of slack: the clock of this process is another one than the server's.
    assert all(at >= (n - 4) / 100 - 0.01 for n, at in enumerate(sorted(granted)))


async def test_costs_are_paid_in_order(place: Place) -> None:
    served: list[int] = []

    async def wait(line: Line, cost: int) -> None:
        await line.acquire(cost)
        served.append(cost)

    async with broker_on(place) as broker:
        line = line_on(broker, TokenBucket(100, burst=10))
        await asyncio.gather(*(wait(line, cost) for cost in (10, 9, 1, 8, 2)))
    assert served == [10, 9, 1, 8, 2]


async def test_whoever_is_cancelled_leaves_the_line_at_once(place: Place) -> None:
    async with broker_on(place) as broker:
        line = line_on(broker, HOURLY)
        await line.acquire(1)
        first, second = (asyncio.create_task(line.acquire(1)) for _ in range(2))
        await eventually(lambda: in_line(place) == 2)
        await leave(first)
        await eventually(lambda: in_line(place) == 1)
        await LimitStore(broker).change("b:stripe", TokenBucket(1000).numbers.text)
        await second


async def test_trying_never_waits_and_never_overtakes(place: Place) -> None:
    async with broker_on(place) as broker:
        line = line_on(broker, TokenBucket(1, per=3600, burst=2))
        assert await line.try_acquire(1)
        waiter = asyncio.create_task(line.acquire(2))
        await eventually(lambda: in_line(place) == 1)
        assert not await line.try_acquire(1), "a token is there, and is kept for who waits"
        await leave(waiter)
        await eventually(lambda: in_line(place) == 0)
        assert await line.try_acquire(1)
        assert not await line.try_acquire(1)


async def test_a_change_at_run_time_reaches_those_who_wait(place: Place) -> None:
    async with broker_on(place) as broker:
        line = line_on(broker, HOURLY)
        await line.acquire(1)
        waiters = [asyncio.create_task(line.acquire(1)) for _ in range(5)]
        await eventually(lambda: in_line(place) == 5)
        await LimitStore(broker).change("b:stripe", TokenBucket(1000).numbers.text)
        await asyncio.wait_for(asyncio.gather(*waiters), 10)


async def test_a_token_whose_reply_was_lost_is_not_taken_twice(place: Place) -> None:
    bucket = TokenBucket(1, per=3600, burst=10)
    async with proxy_to(place.url) as proxy, broker_on(place, url=proxy.url) as broker:
        line = line_on(broker, bucket)
        await line.acquire(1)
        for _ in range(3):
            proxy.cut_after(3)
            await line.acquire(1)
        assert not await line.try_acquire(7)
        assert await line.try_acquire(6)


async def test_whoever_is_forgotten_by_the_server_joins_again(place: Place) -> None:
    async with broker_on(place) as broker:
        line = line_on(broker, TokenBucket(2, burst=1))
        await line.acquire(1)
        waiters = [asyncio.create_task(line.acquire(1)) for _ in range(3)]
        await eventually(lambda: in_line(place) == 3)
        place.admin("FLUSHALL")
        await asyncio.wait_for(asyncio.gather(*waiters), 10)


async def test_a_process_that_is_killed_holds_nobody_up(place: Place) -> None:
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WAITING, place.url, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"served\n"
    async with broker_on(place) as broker:
        await eventually(lambda: in_line(place) == 1)
        other.kill()
        await other.wait()
        line = line_on(broker, TokenBucket(10, burst=1))
        await asyncio.wait_for(line.acquire(1), 10)


async def test_two_processes_share_what_there_is(place: Place) -> None:
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WAITING, place.url, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"served\n"
    async with broker_on(place) as broker:
        line = line_on(broker, TokenBucket(10, burst=1))
        for _ in range(3):
            await line.acquire(1)
        other.kill()
        await other.wait()
        heard = (await other.stdout.read()).split()
    # In turn: each of ours waited behind one of theirs, give or take the first and the last.
    assert 1 <= len(heard) <= 5


async def test_a_server_that_stays_away_is_an_error_for_all_who_wait(
    new_server: Callable[..., PrivateServer],
) -> None:
    server = new_server()
    with Place(server.url) as place:
        async with broker_on(place, enqueue_timeout=0.3) as broker:
            line = line_on(broker, HOURLY)
            await line.acquire(1)
            waiters = [asyncio.create_task(line.acquire(1)) for _ in range(2)]
            await eventually(lambda: in_line(place) == 2)
            server.stop()
            for waiter in waiters:
                with pytest.raises(BrokerUnavailable):
                    await waiter
            with pytest.raises(BrokerUnavailable):
                await line.try_acquire(1)
