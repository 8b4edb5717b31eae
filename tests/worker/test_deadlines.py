"""One timer for all deadlines: each is met once, none early, none that was taken back."""

import asyncio
import random
import time
from functools import partial
from typing import Any

import pytest

from aioq.worker.deadlines import Deadline, Deadlines
from tests.eventually import eventually

met: list[int] = []


@pytest.fixture(autouse=True)
def none_met() -> None:
    met.clear()


@pytest.fixture
async def deadlines() -> Deadlines:
    return Deadlines()


def meet(number: int) -> partial[None]:
    return partial(met.append, number)


def timers() -> int:
    """Count what the event loop itself has to wait for."""
    loop: Any = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in loop._scheduled)


async def test_they_are_met_in_their_order(deadlines: Deadlines) -> None:
    for number in random.Random(3).sample(range(20), 20):
        deadlines.add(number / 1000, meet(number))
    heap: Any = vars(deadlines)["_heap"]  # a busy machine may let moments pass between two calls
    expected = [entry[2].expire.args[0] for entry in sorted(heap)]
    await eventually(lambda: len(met) == 20)

    assert met == expected
    assert len(deadlines) == 0


async def test_none_is_met_early(deadlines: Deadlines) -> None:
    early: list[float] = []

    def check(due: float) -> None:
        met.append(0)
        if time.monotonic() < due:
            early.append(due - time.monotonic())

    for number in range(50):
        seconds = number / 2000
        deadlines.add(seconds, partial(check, time.monotonic() + seconds))
        time.sleep(0.0005)  # noqa: ASYNC251 - the loop's clock must not be the one that counts
    await eventually(lambda: len(met) == 50)

    assert early == []


async def test_one_that_was_taken_back_is_not_met(deadlines: Deadlines) -> None:
    back = deadlines.add(0.001, meet(1))
    deadlines.add(0.002, meet(2))
    deadlines.take_back(back)
    deadlines.take_back(back)
    await eventually(lambda: met)

    assert met == [2]
    assert len(deadlines) == 0


async def test_taking_back_what_has_been_met_is_no_mistake(deadlines: Deadlines) -> None:
    past = deadlines.add(0, meet(1))
    deadlines.add(60, meet(2))
    await eventually(lambda: met)
    deadlines.take_back(past)

    assert len(deadlines) == 1
    deadlines.close()


async def test_one_timer_serves_them_all(deadlines: Deadlines) -> None:
    before = timers()
    for number in range(1000):
        deadlines.add(60 + number, meet(number))
        deadlines.add(60 - number / 100, meet(number))

    assert timers() == before + 1
    deadlines.close()
    assert timers() == before


async def test_an_earlier_one_is_not_kept_waiting_by_a_later_one(deadlines: Deadlines) -> None:
    deadlines.add(60, meet(1))
    deadlines.add(0.001, meet(2))
    await eventually(lambda: met)

    assert met == [2]
    deadlines.close()


async def test_jobs_that_end_in_time_leave_nothing_behind(deadlines: Deadlines) -> None:
    """A limit of a day on jobs of a millisecond must not fill the memory for a day."""
    running: list[Deadline] = []
    for number in range(10_000):
        running.append(deadlines.add(86_400, meet(number)))
        if len(running) > 10:
            deadlines.take_back(running.pop(0))

    assert len(deadlines) == 10
    assert len(deadlines._heap) < 200  # pyright: ignore[reportPrivateUsage]
    deadlines.close()


async def test_what_a_deadline_does_may_add_and_take_back_others(deadlines: Deadlines) -> None:
    other = deadlines.add(60, meet(1))

    def chain() -> None:
        deadlines.take_back(other)
        deadlines.add(0.001, meet(2))

    deadlines.add(0.001, chain)
    await eventually(lambda: met)

    assert met == [2]
    assert len(deadlines) == 0
