"""Bodies that are not called, or called twice: each failure under a number of Celery's.

celery 4207  all members have ended, and the body is not called
celery 6220  compositions in one another are counted wrongly: the body comes too early, or never
celery 3597  the body is called twice, or without results that have expired in the meantime
"""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from aioq import Aioq, chain, chord, group
from aioq.tasks import Composable
from aioq.testing import running
from tests.broker.place import Place
from tests.eventually import eventually
from tests.faults.calculations import (
    PATIENCE,
    all_of,
    app,
    held,
    last_of_graph,
    leaf,
    ledger,
    listed,
    plus,
    retried,
    total,
    workers,
)
from tests.faults.conftest import Shop
from tests.faults.proxy import proxy_to


@pytest.fixture(autouse=True)
async def nothing_has_run() -> None:
    ledger.reset()


async def test_celery_4207_the_body_of_each_of_many_chords_runs_once(place: Place) -> None:
    """Of some thousands of chords, one or two had all of their members and no body."""
    async with workers(place):
        sent = [
            await chord([leaf.s(n), retried.s(1), *[leaf.s(1)] * 18], total.s()).enqueue()
            for n in range(60)
        ]
        assert [await each.result(timeout=PATIENCE) for each in sent] == [n + 19 for n in range(60)]

    assert ledger.times("total") == 60
    assert ledger.times("leaf") == 60 * 19


async def test_celery_4207_a_header_of_a_hundred_has_its_body_though_connections_are_lost(
    place: Place,
) -> None:
    """A counter that is told of each end loses one with each reply that does not arrive."""
    with app.connected_to(place.url):
        async with (
            proxy_to(place.url) as proxy,
            running(app, url=proxy.url, concurrency=10),
        ):
            sent = [await chord([leaf.s(1)] * 100, total.s()).enqueue() for _ in range(5)]
            for cut in range(10):
                proxy.cut_after(cut * 7)
                seen = proxy.accepted
                await eventually(
                    lambda seen=seen: proxy.accepted > seen or ledger.times("total") == 5,
                    seconds=PATIENCE,
                )
            assert [await each.result(timeout=PATIENCE) for each in sent] == [100] * 5
        await app.aclose()

    assert {ledger.runs[each.id] for each in sent} == {1}


WORKFLOW = """
import os
from aioq import Aioq
from tasks import app, begin, gone_on


@app.task(max_crashes=None)
async def member(name: str, number: int) -> int:
    begin(name)
    await gone_on(name)
    return number


@app.task(max_crashes=None)
async def body(numbers: list[int], name: str) -> int:
    begin(name)
    return sum(numbers)
"""


async def test_celery_4207_the_body_runs_once_though_the_worker_of_its_members_is_killed(
    shop: Shop,
) -> None:
    shop.terminal.write("workflow.py", WORKFLOW)
    tasks = Aioq()

    @tasks.task(name="workflow.member")
    async def member(name: str, number: int) -> int: ...

    @tasks.task(name="workflow.body")
    async def body(numbers: list[int], name: str) -> int: ...

    with tasks.connected_to(shop.terminal.environ["AIOQ_URL"]):
        header = [member.s(f"member{n % 2}", n) for n in range(100)]
        handle = await chord(header, body.s("body")).enqueue()
        first = shop.terminal.start_worker("workflow:app", "--concurrency", "40")
        shop.let_go("member0")  # half of what has begun ends, the others are under way
        await eventually(lambda: len(shop.runs("member1")) >= 10, seconds=PATIENCE)
        shop.terminal.start_worker("workflow:app", "--concurrency", "100")
        first.send(signal.SIGKILL)
        shop.let_go("member1")

        assert await handle.result(timeout=PATIENCE) == 4950
        assert len(shop.runs("body")) == 1
        await tasks.aclose()


NOBODY: list[Composable[int]] = []
SHAPES: dict[str, tuple[Callable[[], Composable[Any]], int, int]] = {
    "chords in the header of a chord": (
        lambda: chord(
            [
                chord([leaf.s(1), leaf.s(2)], total.s()),
                chord([leaf.s(4), leaf.s(8)], total.s()),
            ],
            total.s(),
        ),
        15,
        7,
    ),
    "chords in chords in chords": (
        lambda: chord(
            [chord([chord([leaf.s(1), leaf.s(2)], total.s())] * 2, total.s())] * 3, total.s()
        ),
        18,
        22,
    ),
    "a chord at the end of a chain in a group": (
        lambda: chain(
            leaf.s(1),
            group(plus.s(10), chain(plus.s(20), chord([plus.s(1), plus.s(2)], total.s()))),
            total.s(),
        ),
        56,
        7,
    ),
    "groups with a step between them": (
        lambda: chain(
            group(leaf.s(1), leaf.s(2)), total.s(), group(plus.s(10), plus.s(20)), total.s()
        ),
        36,
        6,
    ),
    "groups with several steps between them": (
        lambda: chain(
            group(leaf.s(1), leaf.s(2)),
            total.s(),
            plus.s(1),
            plus.s(1),
            group(plus.s(1), plus.s(2)),
            total.s(),
        ),
        13,
        8,
    ),
    "four groups in a row": (
        lambda: chain(group(leaf.s(1), leaf.s(2)), *[group(total.s(), total.s())] * 3, total.s()),
        24,
        9,
    ),
    "chains of groups in a header": (
        lambda: chord(
            [
                chain(group(leaf.s(1), leaf.s(2)), total.s()),
                chain(group(leaf.s(4), leaf.s(8)), group(total.s(), total.s())),
            ],
            total.s(),
        ),
        27,
        8,
    ),
    "a chain as the body": (
        lambda: chord([leaf.s(1), leaf.s(2)], total.s() | plus.s(4) | plus.s(5)),
        12,
        5,
    ),
    "a chord as the body": (
        lambda: chord([leaf.s(1), leaf.s(2)], chord([total.s(), total.s()], total.s())),
        6,
        5,
    ),
    "a member that is alone": (lambda: chord([leaf.s(7)], total.s()), 7, 2),
    "groups in groups": (
        lambda: chain(group(group(group(leaf.s(1), leaf.s(2)), leaf.s(4))), total.s()),
        7,
        4,
    ),
    "an empty header": (lambda: chord([], total.s()), 0, 1),
    "an empty group among members": (
        lambda: chord([group(NOBODY), leaf.s(1), group(NOBODY)], total.s()),
        1,
        2,
    ),
    "a graph among members": (
        lambda: chord(
            [
                chain(
                    app.graph(
                        {
                            "a": leaf.s(1),
                            "b": plus.s(1).after("a"),
                            "c": plus.s(2).after("a"),
                            "d": plus.s().after("b", "c"),
                        }
                    ),
                    last_of_graph.s(),
                ),
                leaf.s(10),
            ],
            total.s(),
        ),
        15,
        7,
    ),
}
"""Each shape, its result, and how many jobs run for it."""


@pytest.mark.parametrize("shape", SHAPES)
async def test_celery_6220_compositions_in_one_another_count_each_member_once(
    place: Place, shape: str
) -> None:
    make, result, jobs = SHAPES[shape]
    async with workers(place) as worker:
        sent = [await make().enqueue() for _ in range(5)]
        assert [await each.result(timeout=PATIENCE) for each in sent] == [result] * 5
        await worker.run_until_idle()

    assert set(ledger.runs.values()) == {1}
    assert len(ledger.runs) == 5 * jobs


async def test_celery_3597_the_body_runs_once_though_its_members_end_in_one_moment(
    place: Place,
) -> None:
    """Each of those who end last finds that all have ended: one of them makes the body."""
    async with workers(place, 3):
        sent = [await chord([held.s(n) for n in range(4)], total.s()).enqueue() for _ in range(15)]
        await eventually(lambda: ledger.times("held") == 60, seconds=PATIENCE)
        ledger.door.set()

        assert [await each.result(timeout=PATIENCE) for each in sent] == [6] * 15
    assert {ledger.runs[each.id] for each in sent} == {1}


async def test_celery_3597_results_that_expire_before_the_body_begins_are_not_lost(
    place: Place,
) -> None:
    async with workers(place):
        handle = await chord([leaf.s(1), leaf.s(2), held.s(3)], listed.s()).enqueue()
        leaves = await all_of("leaf", place, handle.id)
        await eventually(lambda: ledger.times("held") == 1)
        for job_id in leaves:
            assert await app.job(job_id).result(timeout=PATIENCE)
            place.admin("DEL", f"{place.prefix}j:{job_id}", f"{place.prefix}v:{job_id}")
        ledger.door.set()

        assert await handle.result(timeout=PATIENCE) == [1, 2, 3]


async def test_celery_3597_what_waits_for_the_body_gets_what_the_body_returned(
    place: Place,
) -> None:
    """Not the results of the members, and not once for each of them."""
    async with workers(place):
        steps = group(leaf.s(1), leaf.s(2)) | total.s() | plus.s(10)
        assert await (await steps.enqueue()).result(timeout=PATIENCE) == 13

    assert (ledger.times("total"), ledger.times("plus")) == (1, 1)
