"""The handles of workflows: what they tell, whoever asks and however late."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from aioq import Aioq, ConfigurationError, JobNotFound, Settings, Signature, group
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq(settings=Settings(url="redis://nowhere"), name="handles")
gate = asyncio.Event()


@app.task
async def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
async def count(results: list[Any]) -> int:
    return len(results)


@app.task
async def clean_up(what: str) -> None: ...


@app.task(ignore_result=True)
async def forget(x: int) -> int:
    return x


@app.task(result_expires=1)
async def short_lived(size: int) -> str:
    return "x" * size


@app.task
async def wait_for_gate(text: str) -> str:
    await gate.wait()
    return text


@pytest_asyncio.fixture
async def worker() -> AsyncIterator[Worker]:
    global gate
    gate = asyncio.Event()
    async with running(app) as started:
        yield started


async def test_a_group_with_a_call_for_its_error_is_still_a_group(worker: Worker) -> None:
    run = await group(add.s(1), add.s(2)).on_error(clean_up.s("group")).enqueue()
    assert sorted([result async for result in run]) == [1, 2]
    progress = await run.progress()
    assert (len(run), progress.current, progress.total) == (2, 2, 2)


async def test_a_group_sent_again_gives_the_results_of_the_first(worker: Worker) -> None:
    numbers = group(add.s(1), add.s(2)).set(job_id="numbers")
    first = await numbers.enqueue()
    assert await first.result(5) == [1, 2]
    again = await numbers.enqueue()
    assert (first.created, again.created, again.id) == (True, False, first.id)
    assert [result async for result in again] == [1, 2]


async def test_a_large_workflow_sent_by_several_with_one_id_is_made_once(worker: Worker) -> None:
    groups = (group(add.s(n, i) for i in range(1200)).set(job_id="large") for n in (0, 5000, 9000))
    runs = await asyncio.gather(*(each.enqueue() for each in groups))
    assert [run.created for run in runs].count(True) == 1
    first, *_ = await runs[0].result(10)
    assert await runs[1].result(10) == [first + i for i in range(1200)]


async def test_results_come_although_a_member_s_own_has_expired(worker: Worker) -> None:
    run = await group(short_lived.s(500), wait_for_gate.s("done")).enqueue()
    member = app.job(run._members[0].place)  # pyright: ignore[reportPrivateUsage, reportArgumentType]
    assert await member.result(5) == "x" * 500

    async def has_expired() -> bool:
        broker = app.client.broker()
        return not await broker.command("EXISTS", f"{broker.keys.prefix}v:{member.id}")

    await eventually(has_expired)
    gate.set()
    assert [len(result) async for result in run] == [4, 500]


async def test_a_member_that_keeps_no_result_gives_none(worker: Worker) -> None:
    run = await group(add.s(1), forget.s(2), forget.map([3])).enqueue()
    assert await run.result(5) == [1, None, None]


async def test_a_group_of_empty_groups_has_ended_and_has_its_members(worker: Worker) -> None:
    nothing: list[Signature[int]] = []
    run = await group(group(nothing), group(nothing)).enqueue()
    assert [result async for result in run] == [[], []]
    assert (len(run), await run.ready(), await run.revoke()) == (2, True, False)
    assert [update async for update in run.events()] == []
    with pytest.raises(JobNotFound, match="has no job"):
        await run.info()


async def test_what_follows_a_group_that_collects_of_nothing_is_not_kept_waiting(
    worker: Worker,
) -> None:
    nothing: list[Signature[int]] = []
    collecting = group(group(nothing), on_failure="collect")
    after = collecting | group(count.s(), count.s())
    assert await (await after.enqueue()).result(5) == [1, 1]


async def test_a_workflow_cannot_be_unique_and_may_say_that_its_tasks_are_not(
    worker: Worker,
) -> None:
    steps = add.s(1) | add.s(2)
    with pytest.raises(ConfigurationError, match=r"is unique.*unique=False"):
        await steps.set(unique=True).enqueue()
    assert await (await steps.set(unique=False).enqueue()).result(5) == 3


def test_what_is_no_list_or_name_is_refused_where_it_is_given() -> None:
    number: Any = 3
    with pytest.raises(TypeError, match=r"add.map takes a list of items; 3 is none"):
        add.map(number)
    with pytest.raises(
        TypeError, match=r"starmap takes a list of items, each a list .*; 3 is none"
    ):
        add.starmap([number])
    with pytest.raises(TypeError, match="chunks takes a list of items; 3 is none"):
        add.chunks(number, 1)
    with pytest.raises(TypeError, match="the name of a node is text, not 3"):
        app.graph({number: add.s(1)})
