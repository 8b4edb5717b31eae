"""Durable tasks in a worker: what runs again, what does not, and what a wait leaves free."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from aioq import (
    CONTEXT,
    Aioq,
    ConfigurationError,
    Context,
    Job,
    JobState,
    Revoked,
    Settings,
    TaskFailed,
)
from aioq.testing import running
from tests.eventually import eventually

app = Aioq(settings=Settings(max_payload=10_000))
calls: Counter[str] = Counter()
"""How often each function of a step, and each line, has run."""
PATIENCE = 20


@pytest.fixture(autouse=True)
def nothing_called() -> Iterator[None]:
    calls.clear()
    yield


def drawn(name: str) -> float:
    """What is another number in each run."""
    calls[name] += 1
    return random.random()


async def drawn_later(name: str) -> float:
    return drawn(name)


@dataclass
class Receipt:
    number: int


async def receipt(number: int) -> Receipt:
    calls["receipt"] += 1
    return Receipt(number)


@app.task
async def double(number: int) -> int:
    calls[f"double {number}"] += 1
    return 2 * number


@app.task
async def failing(text: str) -> None:
    raise ValueError(text)


@app.task
async def patient() -> None:
    await asyncio.sleep(3600)


async def failure_of(job: Job[Any]) -> TaskFailed:
    with pytest.raises(TaskFailed) as caught:
        await job.result(timeout=PATIENCE)
    return caught.value


async def is_suspended(job: Job[Any]) -> bool:
    """Whether a job has run, and runs no more though it has not ended."""
    info = await job.info()
    return info.deliveries > 0 and info.state is JobState.PENDING and info.worker is None


@app.task(autoretry_for=(ValueError,), default_retry_delay=0)
async def retried(ctx: Context = CONTEXT) -> list[float]:
    found = [await ctx.step("async", drawn_later, "async"), await ctx.step("def", drawn, "def")]
    found.append(await ctx.step("lambda", lambda: drawn("lambda")))
    if ctx.request.retries < 2:
        raise ValueError(found)
    return found


async def test_steps_that_have_returned_do_not_run_again_when_the_job_is_retried() -> None:
    async with running(app):
        found = await (await retried.enqueue()).result(timeout=PATIENCE)

    assert len(set(found)) == 3
    assert calls == {"async": 1, "def": 1, "lambda": 1}


@app.task(max_retries=1, autoretry_for=(ValueError,), default_retry_delay=0)
async def flaky(ctx: Context = CONTEXT) -> str:
    def fail_once() -> str:
        calls["fail_once"] += 1
        if calls["fail_once"] == 1:
            raise ValueError
        return "done"

    return await ctx.step("flaky", fail_once)


async def test_a_step_that_has_failed_runs_again() -> None:
    async with running(app):
        assert await (await flaky.enqueue()).result(timeout=PATIENCE) == "done"
    assert calls["fail_once"] == 2


@app.task
async def typed(ctx: Context = CONTEXT) -> list[str]:
    found = await ctx.step("receipt", receipt, 7)
    kinds = [type(found).__name__]
    await ctx.sleep(0.001)
    again = await ctx.step("double", double, found.number)
    return [*kinds, str(again)]


async def test_a_step_gives_back_its_annotated_type_in_each_run() -> None:
    async with running(app):
        assert await (await typed.enqueue()).result(timeout=PATIENCE) == ["Receipt", "14"]
    assert calls["receipt"] == 1


@app.task
async def sleeping(seconds: float, ctx: Context = CONTEXT) -> list[float]:
    calls["started"] += 1
    begun = await ctx.step("begun", time.time)
    try:
        await ctx.sleep(seconds)
    finally:
        calls["finally"] += 1
    await ctx.sleep(0)
    return [ctx.request.deliveries, ctx.request.retries, time.time() - begun]


async def test_a_sleep_starts_the_task_again_and_counts_no_retry() -> None:
    async with running(app):
        found = await (await sleeping.enqueue(0.2)).result(timeout=PATIENCE)
    assert found[:2] == [2, 0]
    assert found[2] >= 0.2
    assert calls == {"started": 2, "finally": 2}


async def test_a_sleeping_job_leaves_its_slot_to_others() -> None:
    async with running(app, concurrency=1):
        asleep = await sleeping.enqueue(3600)
        await eventually(lambda: is_suspended(asleep))
        assert await (await double.enqueue(4)).result(timeout=PATIENCE) == 8
        assert await asleep.revoke()
        with pytest.raises(Revoked):
            await asleep.result(timeout=PATIENCE)


@app.task(max_concurrency=1)
async def exclusive(seconds: float, ctx: Context = CONTEXT) -> None:
    await ctx.sleep(seconds)


async def test_a_sleeping_job_leaves_its_place_under_a_limit_to_others() -> None:
    async with running(app):
        asleep = await exclusive.enqueue(3600)
        await eventually(lambda: is_suspended(asleep))
        await (await exclusive.enqueue(0)).result(timeout=PATIENCE)
        await asleep.revoke()


@app.task(time_limit=0.5)
async def limited(ctx: Context = CONTEXT) -> int:
    for _ in range(3):
        await ctx.sleep(0.3)
    return ctx.request.deliveries


async def test_a_time_limit_is_that_of_one_delivery() -> None:
    async with running(app):
        assert await (await limited.enqueue()).result(timeout=PATIENCE) == 4


@app.task(acks_late=False)
async def once(ctx: Context = CONTEXT) -> int:
    await ctx.sleep(0.05)
    return ctx.request.deliveries


async def test_at_most_once_is_no_hindrance_to_waiting() -> None:
    async with running(app):
        assert await (await once.enqueue()).result(timeout=PATIENCE) == 2


@app.task
async def ordering(order: int, ctx: Context = CONTEXT) -> object:
    try:
        return await ctx.wait_event(f"paid-{order}", timeout=0.3 if order < 0 else None)
    except TimeoutError as error:
        await ctx.sleep(0.001)  # the next run is told of the timeout too
        return str(error)


async def test_an_event_brings_its_value_to_the_job_that_waits() -> None:
    async with running(app, concurrency=1):
        job = await ordering.enqueue(1)
        await eventually(lambda: is_suspended(job))
        assert await app.send_event("paid-1", {"by": ["card", 5]}) == 1
        assert await job.result(timeout=PATIENCE) == {"by": ["card", 5]}
        assert (await job.info()).deliveries == 2


async def test_an_event_may_come_before_the_job_waits() -> None:
    async with running(app, concurrency=1):
        first = await sleeping.enqueue(0.1)
        job = await ordering.enqueue(2)
        await app.send_event("paid-2", "early", job_id=job.id)
        assert await job.result(timeout=PATIENCE) == "early"
        await first.result(timeout=PATIENCE)


async def test_an_event_that_does_not_come_in_time_is_a_timeout_in_every_run() -> None:
    async with running(app):
        job = await ordering.enqueue(-1)
        found = await job.result(timeout=PATIENCE)
        assert found == "the event 'paid--1' did not come in time"
        assert (await job.info()).deliveries == 3


async def test_an_event_is_sent_from_sync_code_too() -> None:
    async with running(app):
        job = await ordering.enqueue(3)
        await eventually(lambda: is_suspended(job))
        assert await asyncio.to_thread(app.send_event_sync, "paid-3", 5) == 1
        assert await job.result(timeout=PATIENCE) == 5
        with pytest.raises(ConfigurationError, match=r"await app\.send_event"):
            app.send_event_sync("paid-3")


@pytest.mark.parametrize("name", ["", "two words", "a{b}", "x" * 101, None])
async def test_the_name_of_an_event_is_checked(name: str) -> None:
    with pytest.raises(ConfigurationError, match="the event is named"):
        await app.send_event(name)


@app.task
async def family(members: int, ctx: Context = CONTEXT) -> list[Any]:
    async with ctx.group() as group:
        children = [group.start(double.s(n)) for n in range(members)]
    results = await ctx.wait(children)
    assert results == await ctx.wait(group)
    return [results, [child.id for child in children], ctx.request.deliveries]


async def test_a_job_waits_for_its_children_without_a_slot() -> None:
    """With one slot, whoever keeps it while it waits for a job of its own queue waits for ever."""
    async with running(app, concurrency=1):
        job = await family.enqueue(3)
        results, ids, deliveries = await job.result(timeout=PATIENCE)
        assert results == [0, 2, 4]
        assert ids == [f"{job.id}.{n}" for n in (1, 2, 3)]
        assert deliveries == 2
        assert calls == {"double 0": 1, "double 1": 1, "double 2": 1}


async def test_a_group_larger_than_a_call_is_started_and_waited_for() -> None:
    async with running(app):
        results, _, deliveries = await (await family.enqueue(600)).result(timeout=60)
        assert results == [2 * n for n in range(600)]
        assert deliveries <= 3


async def test_a_group_may_be_empty_and_has_a_bound() -> None:
    async with running(app):
        assert (await (await family.enqueue(0)).result(timeout=PATIENCE))[0] == []
        assert (
            "more than 1,000 children" in (await failure_of(await family.enqueue(1001))).exc_message
        )


@app.task
async def awaiting(ctx: Context = CONTEXT) -> list[int]:
    async with ctx.group() as group:
        first = await group.start(double.s(1))
        second = group.start(double.s(2))
        return [await ctx.wait(second), await ctx.wait(first)]


async def test_a_child_can_be_waited_for_inside_the_block() -> None:
    async with running(app, concurrency=1):
        assert await (await awaiting.enqueue()).result(timeout=PATIENCE) == [4, 2]


@app.task
async def grandparent(ctx: Context = CONTEXT) -> object:
    async with ctx.group() as group:
        child = group.start(family.s(2))
    return (await ctx.wait(child))[0]


async def test_children_may_have_children() -> None:
    async with running(app, concurrency=1):
        assert await (await grandparent.enqueue()).result(timeout=PATIENCE) == [0, 2]


async def test_a_chosen_id_can_be_used_again_and_has_new_children() -> None:
    async with running(app):
        chosen = family.options(job_id="nightly")
        _, first, _ = await (await chosen.enqueue(1)).result(timeout=PATIENCE)
        await app.client.broker().command("DEL", "{aioq.0}:j:nightly")
        _, second, _ = await (await chosen.enqueue(1)).result(timeout=PATIENCE)
    assert first != second
    assert calls["double 0"] == 2


@app.task
async def parent_of_failing(ctx: Context = CONTEXT) -> list[str]:
    async with ctx.group() as group:
        one, other = group.start(failing.s("broken")), group.start(double.s(1))
    try:
        await ctx.wait(one, other)
    except TaskFailed as error:
        return [str(error), str(await ctx.wait(other))]
    return []


async def test_the_error_of_a_child_is_raised_where_it_is_waited_for() -> None:
    async with running(app):
        found = await (await parent_of_failing.enqueue()).result(timeout=PATIENCE)
    assert found == ["ValueError: broken", "2"]


@app.task
async def parent_of_patient(ctx: Context = CONTEXT) -> None:
    async with ctx.group() as group:
        child = group.start(patient.s())
    await ctx.wait(child)


async def test_a_revoked_child_ends_the_wait_and_a_revoked_parent_its_children() -> None:
    async with running(app):
        first, second = await parent_of_patient.enqueue(), await parent_of_patient.enqueue()
        for job in (first, second):
            await eventually(lambda job=job: is_suspended(job))
        await app.job(f"{first.id}.1").revoke()
        assert (await failure_of(first)).exc_type == "aioq.core.errors.Revoked"
        await second.revoke()
        with pytest.raises(Revoked):
            await app.job(f"{second.id}.1").result(timeout=PATIENCE)


@app.task
async def branching(ctx: Context = CONTEXT) -> list[object]:
    async with asyncio.TaskGroup() as group:
        nap = group.create_task(ctx.sleep(0.05))
        work = group.create_task(ctx.step("slow", drawn_slowly))
        heard = group.create_task(ctx.wait_event("go", timeout=30))
    assert nap.done()
    return [work.result(), heard.result()]


async def drawn_slowly() -> float:
    await asyncio.sleep(0.1)
    return drawn("slow")


async def test_branches_of_a_task_group_may_wait_and_a_step_beside_them_is_not_cut_short() -> None:
    async with running(app):
        job = await branching.enqueue()
        await eventually(lambda: calls["slow"])
        await app.send_event("go", "gone", job_id=job.id)
        assert (await job.result(timeout=PATIENCE))[1] == "gone"
        assert calls["slow"] == 1


@app.task
async def gathering(ctx: Context = CONTEXT) -> list[object]:
    return list(await asyncio.gather(ctx.step("slow", drawn_slowly), ctx.sleep(0.05)))


async def test_what_is_gathered_may_wait() -> None:
    async with running(app):
        await (await gathering.enqueue()).result(timeout=PATIENCE)
    assert calls["slow"] == 1


@app.task
async def careful(ctx: Context = CONTEXT) -> str:
    try:
        await ctx.sleep(0.05)
    except Exception:  # noqa: BLE001 - what the test is about
        calls["caught"] += 1
    finally:
        calls["finally"] += 1
        await ctx.step("clean-up", drawn, "clean-up")
    return "done"


async def test_no_except_exception_catches_a_wait_and_no_step_runs_on_its_way_out() -> None:
    async with running(app):
        assert await (await careful.enqueue()).result(timeout=PATIENCE) == "done"
    assert calls == {"finally": 2, "clean-up": 1}


@app.task(autoretry_for=(Exception,), default_retry_delay=0)
async def greedy(ctx: Context = CONTEXT) -> str:
    calls["greedy"] += 1
    try:
        await ctx.sleep(3600)
    except BaseException:  # noqa: BLE001 - what the test is about
        return "done"
    return "slept"


async def test_a_task_that_swallows_a_wait_fails_and_says_so() -> None:
    async with running(app):
        failed = await failure_of(await greedy.enqueue())
    assert failed.exc_type == "aioq.core.errors.SuspendSwallowed"
    assert "catch Exception there, not BaseException" in failed.exc_message
    assert calls["greedy"] == 1


way = "first"
"""What changes between two runs of a task that does not do the same again."""


@app.task(autoretry_for=(Exception,), default_retry_delay=0)
async def wavering(ctx: Context = CONTEXT) -> None:
    global way
    calls["wavering"] += 1
    if way == "step first":
        way = "sleep then"
        await ctx.step("x", drawn, "x")
    elif way == "sleep then":
        await ctx.sleep(0, name="x")
    elif way == "extra first":
        way = "then nothing"
        await ctx.step("extra", drawn, "extra")
    elif way in {"child 1", "child 2"}:
        async with ctx.group() as group:
            child = group.start(double.s(int(way[-1])))
            way = "child 2"
        await ctx.wait(child)
    elif way in {"event a", "event b"}:
        name, way = way, "event b"
        await ctx.wait_event(name[-1], timeout=0.05, name="wait")
    await ctx.sleep(0.01, name="last")


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("step first", "'x' was a step before, and is a sleep now"),
        ("extra first", "it returned without 'extra', which an earlier run has used"),
        ("child 1", "its child 1 was another call before; it is tests.worker.test_durable.double"),
        ("event a", "'wait' waited for 'a' before, now for 'b'"),
    ],
)
async def test_a_run_that_does_something_else_fails_without_a_retry(start: str, says: str) -> None:
    global way
    way = start
    async with running(app):
        failed = await failure_of(await wavering.enqueue())
    assert failed.exc_type == "aioq.core.errors.NonDeterministic"
    assert says in failed.exc_message
    assert calls["wavering"] == 2


@app.task
async def mistaken(kind: str, ctx: Context = CONTEXT) -> None:  # noqa: C901, PLR0912 - one line each
    if kind == "twice":
        await ctx.step("same", drawn, "1")
        await ctx.step("same", drawn, "2")
    elif kind == "name":
        await ctx.step("two words", drawn, "1")
    elif kind == "nested":
        await ctx.step("outer", lambda: asyncio.sleep(0))
        await ctx.step("outer2", nesting, ctx)
    elif kind == "object":
        await ctx.step("object", object)
    elif kind == "large":
        await ctx.step("large", lambda: "x" * 20_000)
    elif kind == "no block":
        ctx.group().start(double.s(1))
    elif kind == "no call":
        async with ctx.group() as group:
            group.start(5)  # pyright: ignore[reportArgumentType] - what the test is about
    elif kind == "id":
        async with ctx.group() as group:
            group.start(double.s(1).set(job_id="mine"))
    elif kind == "branches":
        await asyncio.gather(ctx.sleep(0), ctx.sleep(0))
    elif kind == "no child":
        await ctx.wait(cast("Any", "1"))
    elif kind == "seconds":
        await ctx.sleep(float("nan"))


async def nesting(ctx: Context) -> None:
    await ctx.sleep(5)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("twice", "uses the name 'same' twice"),
        ("name", "the step is named 'two words'"),
        ("nested", "ctx.sleep is called inside the step 'outer2'"),
        ("object", "the step 'object' returned a value of type object that cannot be serialised"),
        ("large", "more than max_payload=10,000"),
        ("no block", "write `async with ctx.group() as g:`"),
        ("no call", "g.start takes a call of one task, such as task.s(1), not 5"),
        ("id", "the id of a child comes from its place"),
        ("branches", "sleeps in more than one of its branches; give each sleep a name"),
        ("no child", "ctx.wait takes what g.start has returned, not '1'"),
        ("seconds", "sleep=nan is no number of seconds"),
    ],
)
async def test_a_mistake_is_named(kind: str, says: str) -> None:
    async with running(app):
        assert says in (await failure_of(await mistaken.enqueue(kind))).exc_message


@app.task
def plain(ctx: Context = CONTEXT) -> None:
    _ = ctx.sleep(1)


@app.task(executor="process")
def elsewhere(ctx: Context = CONTEXT) -> None:
    _ = ctx.step("x", print)


@pytest.mark.parametrize("task", [plain, elsewhere], ids=["thread", "process"])
async def test_only_async_def_tasks_are_durable(task: object) -> None:
    async with running(app):
        job = await (plain if task is plain else elsewhere).enqueue()
        assert "is for async def tasks" in (await failure_of(job)).exc_message


@app.task
async def by_hand(ctx: Context = CONTEXT) -> float:
    await ctx.sleep(0.001)
    return await ctx.step("draw", drawn, "draw")


async def test_a_plain_call_runs_its_steps_here_and_has_no_children() -> None:
    assert 0 <= await by_hand() < 1
    with pytest.raises(ConfigurationError, match="need a job"):
        await family(1)


@app.task
async def dying(ctx: Context = CONTEXT) -> float:
    found = await ctx.step("draw", drawn, "draw")
    if calls["dying"] == 0:
        calls["dying"] += 1
        raise ValueError
    return found


async def test_a_replayed_dead_letter_skips_what_is_done() -> None:
    async with running(app):
        job = await dying.enqueue()
        await failure_of(job)
        await app.dead_letters.replay(job.id)
        await job.result(timeout=PATIENCE)
    assert calls["draw"] == 1


async def test_nothing_of_durable_jobs_is_left_when_they_have_ended() -> None:
    async with running(app):
        for job in (
            await family.enqueue(2),
            await sleeping.enqueue(0.01),
            await branching.enqueue(),
        ):
            await app.send_event("go", job_id=job.id)
            await job.result(timeout=PATIENCE)
        keys = await app.client.broker().command("KEYS", "{aioq.0}:d[mwe]:*")
        assert keys == []


@app.task
async def wordy(length: int) -> str:
    return "x" * length


@app.task
async def parent_of_wordy(ctx: Context = CONTEXT) -> list[int]:
    async with ctx.group() as group:
        children = [group.start(wordy.s(length)) for length in (5, 700_000, 800_000, 900_000)]
    return [len(text) for text in await ctx.wait(children)]


async def test_children_may_have_large_results() -> None:
    async with running(app):
        job = await parent_of_wordy.enqueue()
        assert await job.result(timeout=PATIENCE) == [5, 700_000, 800_000, 900_000]


@app.task
async def ancestor(widths: list[int], ctx: Context = CONTEXT) -> None:
    if not widths:
        await ctx.wait_event("never")
        return
    async with ctx.group() as group:
        for _ in range(widths[0]):
            group.start(ancestor.s(widths[1:]))
    await ctx.wait(group)


@pytest.mark.parametrize("widths", [[600], [2, 300], [501, 1]])
async def test_a_revoked_parent_ends_all_that_descend_from_it(widths: list[int]) -> None:
    async with running(app) as worker:
        root = await ancestor.enqueue(widths)
        await worker.run_until_idle()
        generations = [[root.id]]
        for width in widths:
            parents = generations[-1]
            generations.append([f"{each}.{n}" for each in parents for n in range(1, width + 1)])
        family = [app.job(each) for generation in generations for each in generation]
        before = Counter(await asyncio.gather(*(each.status() for each in family)))
        assert before == {JobState.PENDING: len(family)}
        assert await root.revoke()
        after = Counter(await asyncio.gather(*(each.status() for each in family)))
        assert after == {JobState.REVOKED: len(family)}
