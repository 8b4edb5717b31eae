"""In which order lanes are asked for: strict, and so that nobody starves."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat

import pytest

from aioq import Aioq, ConfigurationError, Settings
from aioq.broker.scripts import Delivery, Fetched
from aioq.testing import running
from aioq.worker import Worker
from aioq.worker.lanes import Lanes
from tests.eventually import eventually

app = Aioq()
order: list[str] = []
gate: asyncio.Event


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    global gate
    gate = asyncio.Event()
    order.clear()


@app.task
async def note(name: str) -> None:
    order.append(name)


@app.task
async def held() -> None:
    await gate.wait()


def fetched(*jobs: bytes, passed: bool = False) -> Fetched:
    deliveries = [Delivery(b"1-1", job, b"note", 0, 0, 1, 0, b"") for job in jobs]
    return Fetched(now_us=1, next_ms=0, dropped=[], passed=passed, deliveries=deliveries)


BUSY = fetched(b"a", passed=True)
DONE = fetched(b"a")
NOTHING = fetched(passed=True)


def test_lanes_go_by_priority_then_by_queue_and_suspects_before_all() -> None:
    lanes = Lanes(["a", "b"])
    common = list(lanes.order(with_suspects=False))
    assert common[:4] == ["a:9", "b:9", "a:8", "b:8"]
    assert common[-2:] == ["a:0", "b:0"]
    assert list(lanes.order(with_suspects=True)) == ["a:z", "b:z", *common]
    assert sorted(lanes.all) == sorted(lanes.order(with_suspects=True))


def test_the_eighth_fetch_after_seven_that_passed_others_over_begins_with_the_lowest() -> None:
    lanes = Lanes(["a", "b"])
    for _ in range(2):
        for _ in range(7):
            assert lanes.order(with_suspects=False)[0] == "a:9"
            lanes.brought(BUSY)
        upwards = lanes.order(with_suspects=True)
        assert list(upwards[:6]) == ["a:z", "b:z", "a:0", "b:0", "a:1", "b:1"]
        lanes.brought(BUSY)


def test_a_fetch_that_passes_nobody_over_begins_the_count_anew() -> None:
    lanes = Lanes(["a"])
    for last in (BUSY, DONE):
        for each in [*repeat(BUSY, 6), DONE, *repeat(BUSY, 6), last]:
            assert lanes.order(with_suspects=False)[0] == "a:9"
            lanes.brought(each)
        assert lanes.order(with_suspects=False)[0] == ("a:0" if last is BUSY else "a:9")
        lanes.brought(DONE)


def test_only_fetches_that_brought_jobs_count() -> None:
    lanes = Lanes(["a"])
    for each in [*repeat(BUSY, 3), *repeat(NOTHING, 20), *repeat(BUSY, 3), NOTHING]:
        lanes.brought(each)
        assert lanes.order(with_suspects=False)[0] == "a:9"
    lanes.brought(BUSY)
    for _ in range(3):
        assert lanes.order(with_suspects=False)[0] == "a:0", "until it has brought something"
        lanes.brought(NOTHING)
    lanes.brought(BUSY)
    assert lanes.order(with_suspects=False)[0] == "a:9"


def firsts(lanes: Lanes, count: int) -> list[str]:
    """Return which queue goes first in so many fetches."""
    found: list[str] = []
    for _ in range(count):
        lane = lanes.order(with_suspects=False)
        assert lane[0][-2:] == ":9"
        found.append(lane[0][:-2])
        lanes.brought(DONE)
    return found


def test_weights_are_kept_in_every_round() -> None:
    assert firsts(Lanes({"a": 3, "b": 1}), 8) == ["a", "a", "b", "a"] * 2
    assert firsts(Lanes({"a": 1, "b": 1}), 6) == ["a", "b"] * 3
    assert firsts(Lanes({"a": 5, "b": 1, "c": 1}), 14) == ["a", "a", "b", "a", "c", "a", "a"] * 2


def test_every_window_of_a_round_has_its_shares() -> None:
    found = firsts(Lanes({"a": 5, "b": 3, "c": 1}), 90)
    for start in range(90 - 9):
        window = found[start : start + 9]
        assert (window.count("a"), window.count("b"), window.count("c")) == (5, 3, 1)


def test_weights_count_within_each_priority_and_only_where_jobs_came() -> None:
    lanes = Lanes({"a": 2, "b": 1})
    lanes.brought(DONE)
    assert list(lanes.order(with_suspects=True)[:6]) == ["a:z", "b:z", "b:9", "a:9", "b:8", "a:8"]
    lanes.brought(NOTHING)
    assert lanes.order(with_suspects=False)[0] == "b:9"


def test_without_weights_the_stated_order_stays() -> None:
    assert firsts(Lanes(["b", "a"]), 20) == ["b"] * 20


async def enqueue(*jobs: tuple[str, str, int], many: int = 1) -> None:
    """Make jobs: name, queue and priority of each."""
    for name, queue, priority in jobs:
        await note.options(queue=queue, priority=priority).enqueue_many([(name,)] * many)


@asynccontextmanager
async def one_at_a_time(
    queues: Sequence[str] | Mapping[str, int], fill: list[tuple[str, str, int, int]]
) -> AsyncGenerator[Worker]:
    """Run a worker that takes job by job, once all these wait: name, queue, priority, how many.

    Until then it is kept busy with one job more, which is not counted.
    """
    async with running(app, concurrency=1, queues=queues) as worker:
        blocker = await held.options(queue=worker.queues[0], priority=9).enqueue()
        await eventually(lambda: worker.running == 1)
        for name, queue, priority, many in fill:
            await enqueue((name, queue, priority), many=many)
        gate.set()
        await blocker.result(timeout=10)
        yield worker


async def test_after_seven_of_a_higher_priority_comes_one_of_the_lowest() -> None:
    async with one_at_a_time(
        ["default"], [("zero", "default", 0, 2), ("nine", "default", 9, 20)]
    ) as worker:
        await worker.run_until_idle()
    assert order == [*["nine"] * 7, "zero", *["nine"] * 7, "zero", *["nine"] * 6]


async def test_of_three_levels_the_lowest_has_the_eighth_turn() -> None:
    async with one_at_a_time(
        ["default"],
        [("zero", "default", 0, 1), ("five", "default", 5, 2), ("nine", "default", 9, 30)],
    ) as worker:
        await worker.run_until_idle()
    turns = [name for name in order[7::8] if name != "nine"]
    assert turns == ["zero", "five", "five"]
    assert order == [
        *chain(*([*["nine"] * 7, turn] for turn in ("zero", "five", "five"))),
        *["nine"] * 9,
    ]


async def test_the_turn_is_among_all_queues() -> None:
    async with one_at_a_time(
        ["a", "b"], [("low", "b", 1, 2), ("middle", "a", 4, 1), ("high", "a", 7, 20)]
    ) as worker:
        await worker.run_until_idle()
    high = ["high"] * 7
    assert order == [*high, "low", *high, "low", *["high"] * 6, "middle"]


async def test_stated_queues_go_in_their_order_within_a_priority() -> None:
    async with one_at_a_time(
        ["b", "a"], [("a5", "a", 5, 3), ("b5", "b", 5, 3), ("a6", "a", 6, 1)]
    ) as worker:
        await worker.run_until_idle()
    assert order == ["a6", *["b5"] * 3, *["a5"] * 3]


async def test_weighted_queues_have_their_shares_while_both_have_jobs() -> None:
    async with one_at_a_time({"a": 3, "b": 1}, [("a", "a", 5, 30), ("b", "b", 5, 10)]) as worker:
        await worker.run_until_idle()
    for start in range(len(order) - 3):
        assert sorted(order[start : start + 4]) == ["a", "a", "a", "b"]


async def test_a_weighted_queue_that_is_empty_costs_the_others_nothing() -> None:
    async with one_at_a_time({"a": 3, "b": 1}, [("b", "b", 5, 12)]) as worker:
        await worker.run_until_idle()
    assert order == ["b"] * 12


async def test_a_higher_priority_wins_over_any_weight() -> None:
    async with one_at_a_time({"a": 9, "b": 1}, [("a", "a", 5, 5), ("b", "b", 6, 5)]) as worker:
        await worker.run_until_idle()
    assert order == [*["b"] * 5, *["a"] * 5]


@pytest.mark.parametrize("weight", [0, -1, 1001, 1.5, "3", None, True])
def test_a_weight_that_is_none_is_one_clear_error(weight: object) -> None:
    with pytest.raises(ConfigurationError, match=r"weight.* queue 'b'.* 1 to 1000"):
        Worker(app, queues={"a": 1, "b": weight})  # pyright: ignore[reportArgumentType]


def test_weights_need_names_too() -> None:
    with pytest.raises(ConfigurationError, match="queue 'a b' is no name"):
        Worker(app, queues={"a b": 1})
    with pytest.raises(ConfigurationError, match=r"queues=\{\} is wrong: .*\{'default': 3"):
        Worker(app, queues={})


def test_a_worker_takes_its_queues_from_the_settings() -> None:
    weighted = Worker(Aioq(settings=Settings(queues={"a": 3, "b": 1})))
    assert (weighted.queues, weighted.weights) == (("a", "b"), {"a": 3, "b": 1})
    named = Worker(Aioq(settings=Settings(queues=("b", "a", "b"))))
    assert (named.queues, named.weights) == (("b", "a"), {})
    assert Worker(Aioq(settings=Settings(queues={"a": 3})), queues=["c"]).weights == {}
