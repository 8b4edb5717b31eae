"""Jobs that belong together: chains, groups, chords, and graphs of any shape."""

from typing import Any

import pytest

from aioq import (
    CONTEXT,
    Aioq,
    ConfigurationError,
    Context,
    GroupWorkflow,
    JobState,
    Revoked,
    TaskFailed,
    chain,
    chord,
    group,
)
from aioq.testing import running
from tests.eventually import eventually

app = Aioq()
cleaned: list[str] = []


@app.task
async def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
async def describe(result: object, unit: str = "EUR") -> str:
    return f"{result} {unit}"


@app.task(max_retries=0)
async def charge(amount: int) -> int:
    if amount > 100:
        raise ValueError(f"{amount} is too much")
    return amount


@app.task
async def clean_up(order: int, ctx: Context = CONTEXT) -> None:
    cleaned.append(f"order {order}: {ctx.error}")


async def test_a_chain_passes_each_result_on_to_the_next_step() -> None:
    async with running(app):
        job = await (add.s(1, 2) | add.s(10) | describe.s()).enqueue()

        assert await job.result(timeout=10) == "13 EUR"

        job = await chain(add.s(1, 2), describe.s("USD")).enqueue()

        assert await job.result(timeout=10) == "3 USD"


async def test_a_result_comes_before_the_arguments_of_a_signature_unless_it_is_immutable() -> None:
    async with running(app):
        with_it = await (add.s(1) | describe.s("m")).enqueue()
        without_it = await (add.s(1) | describe.si("done", "!")).enqueue()

        assert await with_it.result(timeout=10) == "1 m"
        assert await without_it.result(timeout=10) == "done !"


async def test_a_group_runs_side_by_side_and_gives_a_list_in_order() -> None:
    async with running(app):
        run = await group(add.s(i, i) for i in range(4)).enqueue()

        assert await run.result(timeout=10) == [0, 2, 4, 6]
        assert (await run.progress()).current == 4


async def test_the_results_of_a_group_can_be_had_as_they_come() -> None:
    async with running(app):
        run = await group(add.s(i, i) for i in range(4)).enqueue()

        assert sorted([result async for result in run]) == [0, 2, 4, 6]


async def test_a_chord_is_a_group_and_one_job_that_takes_the_list() -> None:
    async with running(app):
        job = await chord([add.s(i) for i in range(4)], total.s()).enqueue()
        same = await (group(add.s(i) for i in range(4)) | total.s()).enqueue()

        assert (await job.result(timeout=10), await same.result(timeout=10)) == (6, 6)


async def test_anything_may_stand_in_anything() -> None:
    async with running(app):
        inner = group(add.s(1), add.s(2) | add.s(3))
        job = await (add.s(10) | group(inner, total.map([])) | describe.s("")).enqueue()

        assert await job.result(timeout=10) == "[[11, 15], []] "


async def test_a_graph_names_its_nodes_and_what_each_comes_after() -> None:
    async with running(app):
        run = await app.graph(
            {
                "net": add.s(70, 30),
                "tax": add.s(-81).after("net"),
                "gross": add.s().after("net", "tax"),
            }
        ).enqueue()

        assert await run.result(timeout=10) == {"net": 100, "tax": 19, "gross": 119}


async def test_a_graph_that_cannot_be_is_an_error_at_the_call() -> None:
    with pytest.raises(ConfigurationError, match=r"'b' comes after an unknown node 'nett'"):
        app.graph({"net": add.s(1), "b": add.s().after("nett")})
    with pytest.raises(ConfigurationError, match="in a circle"):
        app.graph({"a": add.s().after("b"), "b": add.s().after("a")})


async def test_many_items_need_not_be_many_jobs() -> None:
    async with running(app):
        one_job = await add.map([1, 2, 3]).enqueue()
        with_arguments = await add.starmap([(1, 2), (3, 4)]).enqueue()
        some_jobs = await add.chunks([(i, i) for i in range(5)], 2).enqueue()

        assert await one_job.result(timeout=10) == [1, 2, 3]
        assert await with_arguments.result(timeout=10) == [3, 7]
        assert await some_jobs.result(timeout=10) == [[0, 2], [4, 6], [8]]


async def test_when_a_member_fails_the_rest_ends_at_once_and_says_why() -> None:
    async with running(app):
        job = await chord([charge.s(1), charge.s(101)], total.s()).enqueue()
        with pytest.raises(TaskFailed, match=r"charge failed: ValueError: 101 is too much"):
            await job.result(timeout=10)


async def test_on_error_runs_once_and_knows_the_error() -> None:
    cleaned.clear()
    async with running(app) as worker:
        steps = charge.s(101) | add.s(1) | describe.s()
        job = await steps.on_error(clean_up.s(7)).enqueue()
        with pytest.raises(TaskFailed):
            await job.result(timeout=10)
        await worker.run_until_idle()

    (said,) = cleaned
    assert said.startswith("order 7: ")
    assert said.endswith("ValueError: 101 is too much")


async def test_a_group_may_collect_errors_in_the_place_of_results() -> None:
    async with running(app):
        run = await group(charge.s(1), charge.s(101), on_failure="collect").enqueue()
        first, second = await run.result(timeout=10)

        assert first == 1
        assert isinstance(second, TaskFailed)
        assert second.exc_message == "101 is too much"


async def test_a_revoke_ends_all_of_a_workflow_that_has_not_ended() -> None:
    async with running(app):
        run: GroupWorkflow[int] = await group(add.s(1), add.s(2).set(countdown=3600)).enqueue()

        async def first_has_ended() -> bool:
            return await run.completed_count() == 1

        await eventually(first_has_ended)
        assert await run.revoke()
        with pytest.raises(Revoked):
            await run.result(timeout=10)


async def test_a_workflow_is_found_again_by_the_id_of_its_result() -> None:
    async with running(app):
        run = await group(add.s(1), add.s(2)).set(job_id="report-7").enqueue()
        same: Any = await app.job("report-7").result(timeout=10)

        assert same == await run.result(timeout=10) == [1, 2]
        assert await run.status() is JobState.SUCCESS
