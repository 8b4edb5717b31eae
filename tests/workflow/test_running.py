"""Workflows on a real server and a real worker."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aioq import (
    CONTEXT,
    Aioq,
    Context,
    JobNotFound,
    JobState,
    Revoked,
    Settings,
    Signature,
    TaskFailed,
    chain,
    chord,
    group,
)
from aioq.testing import running
from aioq.worker import Worker
from tests.eventually import eventually

app = Aioq(settings=Settings(url="redis://nowhere", max_payload=4096), name="workflows")
seen: list[Any] = []
gate = asyncio.Event()


def parity(number: int, **_: object) -> int:
    return number % 2 if isinstance(number, int) else 0  # pyright: ignore[reportUnnecessaryIsInstance]


def length(numbers: list[int]) -> int:
    return len(numbers)


@app.task
async def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
async def total(numbers: list[int], more: int = 0) -> int:
    return sum(numbers) + more


@app.task(max_retries=0)
async def fail(*_: object) -> int:
    raise ValueError("out of luck")


@app.task
async def clean_up(what: str, ctx: Context = CONTEXT) -> None:
    seen.append((what, ctx.error))


@app.task
async def wait_for_gate(number: int) -> int:
    await gate.wait()
    return number


@app.task
async def kinds(values: list[Any]) -> list[str]:
    return [type(value).__name__ for value in values]


@app.task
def in_a_thread(*numbers: int) -> tuple[bool, int]:
    return threading.current_thread() is not threading.main_thread(), sum(numbers)


@app.task(executor="process")
def in_a_process(*numbers: int) -> int:
    return sum(numbers)


@app.task(executor="process")
def clean_up_in_a_process(path: str, ctx: Context = CONTEXT) -> None:
    Path(path).write_text(f"{type(ctx.error).__name__}: {ctx.error}", "utf-8")


@app.task
async def blob(size: int) -> bytes:
    return b"x" * size


@app.task
async def sizes(blobs: list[bytes]) -> list[int]:
    return [len(each) for each in blobs]


@app.task(fair_by=parity, max_concurrency=1)
async def limited(number: int) -> int:
    seen.append(number)
    return number


@app.task(queue="own", max_retries=0, bind=True)
async def where(self: Context, *_: object) -> tuple[str, dict[str, Any]]:
    return self.queue, self.headers


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    global gate
    seen.clear()
    gate = asyncio.Event()
    yield


@pytest_asyncio.fixture
async def worker() -> AsyncIterator[Worker]:
    async with running(app) as worker:
        yield worker


async def test_a_result_is_prepended_to_the_arguments_of_the_next_step(worker: Worker) -> None:
    job = await (add.s(1, 2) | add.s(10) | add.s(100)).enqueue()
    assert await job.result(5) == 113


async def test_an_immutable_step_waits_and_takes_nothing(worker: Worker) -> None:
    assert await (await (add.s(1) | add.si(5)).enqueue()).result(5) == 5


async def test_a_group_gives_a_list_in_order_and_a_chord_passes_it_on(worker: Worker) -> None:
    members = [add.s(i, 1) for i in range(5)]
    assert await (await group(members).enqueue()).result(5) == [1, 2, 3, 4, 5]
    assert await (await chord(members, total.s(100)).enqueue()).result(5) == 115


async def test_empty_groups_and_chords_are_legal(worker: Worker) -> None:
    nothing: list[Signature[int]] = []
    empty = await group(nothing).enqueue()
    assert (await empty.result(), await empty.status()) == ([], JobState.SUCCESS)
    assert [result async for result in empty] == []
    assert await (await app.graph({}).enqueue()).result() == {}
    assert await (await chord(nothing, total.s(5)).enqueue()).result(5) == 5
    after = await (add.s(1) | group(nothing) | total.s(7)).enqueue()
    assert await after.result(5) == 7
    last = await (add.s(1) | group(nothing)).enqueue()
    assert await last.result(5) == []


async def test_groups_in_groups_give_lists_in_lists(worker: Worker) -> None:
    nothing: list[Signature[int]] = []
    nested = group(group(add.s(1), add.s(2)), add.s(3), group(nothing), add.s(1) | add.s(3))
    assert await (await nested.enqueue()).result(5) == [[1, 2], 3, [], 4]


async def test_every_member_of_a_second_group_gets_all_results_of_the_first(
    worker: Worker,
) -> None:
    both = group(add.s(1), add.s(2)) | group(total.s(), total.s(10)) | total.s(100)
    assert await (await both.enqueue()).result(5) == 116


async def test_a_graph_gives_what_each_node_gives(worker: Worker) -> None:
    run = await app.graph(
        {
            "last": total.s().after("many"),
            "a": add.s(1, 1),
            "b": add.s(10).after("a"),
            "both": add.s().after("a", "b"),
            "many": group(add.s(1), add.s(2)),
        }
    ).enqueue()
    expected = {"last": 3, "a": 2, "b": 12, "both": 14, "many": [1, 2]}
    assert await run.result(5) == expected
    assert list(await run.result(5)) == list(expected)


async def test_map_starmap_and_chunks_call_the_function_for_each_item(worker: Worker) -> None:
    assert await (await add.map([1, 2]).enqueue()).result(5) == [1, 2]
    assert await (await add.starmap([(1, 2), (3, 4)]).enqueue()).result(5) == [3, 7]
    chunks = await add.chunks([(i, i) for i in range(5)], 2).enqueue()
    assert await chunks.result(5) == [[0, 2], [4, 6], [8]]
    assert await (await add.map([]).enqueue()).result(5) == []
    after = await (add.s(10) | add.map([1, 2])).enqueue()
    assert await after.result(5) == [11, 12], "the result comes first in each call"


async def test_a_mapped_job_runs_where_its_task_runs(worker: Worker) -> None:
    threads = await in_a_thread.starmap([(1, 2), (3,)]).enqueue()
    assert await threads.result(5) == [(True, 3), (True, 3)]
    assert await (await in_a_process.starmap([(1, 2), (3,)]).enqueue()).result(20) == [3, 3]


async def test_results_reach_threads_and_processes(worker: Worker) -> None:
    first = group(add.s(1), add.s(2))
    assert await (await (add.s(5) | in_a_thread.s(1)).enqueue()).result(5) == (True, 6)
    body = await (first | total.s() | in_a_process.s(10)).enqueue()
    assert await body.result(20) == 13


async def test_a_mapped_call_that_does_not_fit_fails_before_any_call_runs(worker: Worker) -> None:
    mapped = await limited.map([1, "x"]).enqueue()
    with pytest.raises(TaskFailed, match=r"argument 'number' .* does not fit"):
        await mapped.result(5)
    assert seen == []


async def test_inputs_that_are_large_or_many_are_read_by_the_worker(worker: Worker) -> None:
    """They do not count towards `max_payload`, which is 4 KiB here."""
    job = await chord([blob.s(3_000)] * 40, sizes.s()).enqueue()
    assert await job.result(10) == [3_000] * 40
    many = await chord([add.s(i) for i in range(1_200)], total.s()).enqueue()
    assert await many.result(30) == sum(range(1_200))


async def test_limits_hold_for_jobs_whose_arguments_are_known_later(worker: Worker) -> None:
    job = await (group(add.s(i) for i in range(4)) | limited_of.s()).enqueue()
    assert await job.result(10) == 6
    chained = await group(add.s(i) | limited.s() for i in range(6)).enqueue()
    assert await chained.result(10) == list(range(6))
    mapped = await (add.s(0) | limited.si(9) | limited.map([])).enqueue()
    assert await mapped.result(10) == []


@app.task(rate_limit="1000/s", fair_by=length)
async def limited_of(numbers: list[int]) -> int:
    return sum(numbers)


async def test_jobs_keep_queue_and_headers_of_their_own() -> None:
    async with running(app, queues=["default", "own", "all"]):
        steps = add.s(1) | where.s().set(headers={"a": 1})
        assert await (await steps.enqueue()).result(5) == ("own", {"a": 1})
        assert await (await steps.set(queue="all").enqueue()).result(5) == ("all", {"a": 1})


async def test_a_failed_member_ends_the_join_naming_it_and_cleans_up_once(worker: Worker) -> None:
    body = total.s().on_error(clean_up.s("body"))
    job = await chord([add.s(1), fail.s(), fail.s()], body).on_error(clean_up.s("all")).enqueue()
    with pytest.raises(TaskFailed, match=r"of .*\.fail failed: ValueError: out of luck") as failed:
        await job.result(5)
    assert failed.value.exc_type == "aioq.core.errors.DependencyFailed"
    await worker.run_until_idle()
    assert Counter(what for what, _ in seen) == {"body": 1, "all": 1}
    assert all(isinstance(error, TaskFailed) for _, error in seen)
    assert "out of luck" in str(seen[0][1])


async def test_the_first_error_of_a_chain_is_told_however_long_it_is(worker: Worker) -> None:
    job = await chain([fail.s(), *[add.s(1)] * 600]).enqueue()
    with pytest.raises(TaskFailed, match="ValueError: out of luck") as failed:
        await job.result(10)
    assert failed.value.exc_message.count("failed") == 1


async def test_what_runs_on_an_error_does_not_run_without_one(worker: Worker) -> None:
    job = await add.s(1).on_error(clean_up.s("alone")).enqueue()
    assert await job.result(5) == 1
    await worker.run_until_idle()
    assert seen == []


async def test_a_process_is_told_the_error_too(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "told"
    job = await fail.s().on_error(clean_up_in_a_process.s(str(path))).enqueue()
    with pytest.raises(TaskFailed):
        await job.result(5)
    await worker.run_until_idle()
    assert path.read_text("utf-8") == "TaskFailed: ValueError: out of luck"


async def test_a_group_that_collects_gives_results_and_errors(worker: Worker) -> None:
    run = await group(add.s(1), fail.s(), add.s(2), on_failure="collect").enqueue()
    first, error, last = await run.result(5)
    assert (first, last) == (1, 2)
    assert isinstance(error, TaskFailed)
    assert (error.exc_type, error.exc_message) == ("ValueError", "out of luck")
    as_they_came = [type(result).__name__ async for result in run]
    assert sorted(as_they_came) == ["TaskFailed", "int", "int"]


async def test_a_body_may_be_given_errors(worker: Worker) -> None:
    run = await (group(add.s(1), fail.s(), on_failure="collect") | kinds.s()).enqueue()
    assert await run.result(5) == ["int", "TaskFailed"]


async def test_results_come_as_they_are_ready(worker: Worker) -> None:
    run = await group(wait_for_gate.s(1), add.s(2), group(add.s(3), add.s(4))).enqueue()
    results = aiter(run)
    assert {str(await anext(results)), str(await anext(results))} == {"2", "[3, 4]"}
    assert (await run.progress()).total == 4
    gate.set()
    assert await anext(results) == 1
    with pytest.raises(StopAsyncIteration):
        await anext(results)
    assert (await run.result(5), await run.completed_count()) == ([1, 2, [3, 4]], 4)


async def test_a_member_that_fails_raises_where_results_are_awaited(worker: Worker) -> None:
    run = await group(wait_for_gate.s(1), fail.s()).enqueue()
    with pytest.raises(TaskFailed, match=r"^ValueError: out of luck"):
        await anext(aiter(run))


async def test_progress_counts_the_results_of_a_group(worker: Worker) -> None:
    run = await group(add.s(1), wait_for_gate.s(2)).enqueue()

    async def one_of_two() -> bool:
        progress = await run.progress()
        return (progress.current, progress.total) == (1, 2)

    await eventually(one_of_two)
    gate.set()
    await run.result(5)
    assert (await run.progress()).current == 2
    assert len(run) == 2


async def test_a_revoke_ends_all_that_has_not_ended(worker: Worker) -> None:
    run = await (group(wait_for_gate.s(1), wait_for_gate.s(2)) | total.s()).enqueue()
    await eventually(lambda: worker.running == 2)
    assert await run.revoke()
    with pytest.raises(Revoked):
        await run.result(5)
    await eventually(lambda: worker.running == 0)
    assert not await run.revoke()


async def test_a_workflow_is_known_by_its_id_alone(worker: Worker) -> None:
    run = await group(add.s(1), group(add.s(2))).enqueue()
    assert await app.job(run.id).result(5) == [1, [2]]
    assert await asyncio.to_thread(app.job(run.id).result_sync, 5) == [1, [2]]
    with pytest.raises(JobNotFound):
        await app.job("nobody").result(5)


async def test_an_id_is_given_once(worker: Worker) -> None:
    workflow = (add.s(1) | add.s(2)).set(job_id="once")
    first, second = await workflow.enqueue(), await workflow.enqueue()
    assert (first.created, second.created, first.id, second.id) == (True, False, "once", "once")
    assert await second.result(5) == 3
    await worker.run_until_idle()


async def test_a_step_may_wait_for_a_while_after_its_release(worker: Worker) -> None:
    run = await (add.s(1) | add.s(2).set(countdown=0.2)).enqueue()
    assert await run.result(5) == 3
    info = await run.info()
    assert info.due_at is not None


async def test_a_job_that_waits_for_another_is_pending_and_shows_its_own_arguments(
    worker: Worker,
) -> None:
    run = await (wait_for_gate.s(1) | add.s(2)).enqueue()
    info = await run.info()
    assert (info.state, info.args) == (JobState.PENDING, (2,))
    gate.set()
    assert await run.result(5) == 3


async def test_celery_s_spellings_work_on_every_composition(worker: Worker) -> None:
    assert await (await (add.s(1) | add.s(2)).delay()).result(5) == 3
    assert await (await group(add.s(1)).apply_async(priority=9)).result(5) == [1]
    assert await (await add.s(1).delay(2)).result(5) == 3
    assert await (await (add.s(1) | add.s(2)).apply_async((10,))).result(5) == 13


async def test_a_workflow_is_sent_from_sync_code_too(worker: Worker) -> None:
    run = await asyncio.to_thread(group(add.s(i) for i in range(300)).enqueue_sync)
    assert await asyncio.to_thread(run.result_sync, 10) == list(range(300))
    progress = await asyncio.to_thread(run.progress_sync)
    assert (progress.current, progress.total) == (300, 300)


async def test_replaying_a_dead_member_lets_the_workflow_go_on(worker: Worker) -> None:
    run = await (add.s(1) | unlucky.s() | add.s(10)).enqueue()
    with pytest.raises(TaskFailed):
        await run.result(5)
    seen.append("luck")
    letters = [letter.id async for letter in app.dead_letters.list(task=unlucky.name)]
    await app.dead_letters.replay(letters[0])
    await worker.run_until_idle()
    assert await run.result(5) == 11


@app.task(max_retries=0)
async def unlucky(number: int) -> int:
    if not seen:
        raise ValueError("no luck")
    return number
