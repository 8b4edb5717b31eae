"""Unique jobs: one live job for the same call, and what a second call does meanwhile."""

import asyncio

import pytest

from aioq import Aioq, ConfigurationError, JobState, NotUnique, Revoked, Unique
from aioq.testing import running
from tests.eventually import eventually

app = Aioq()
ran: list[object] = []
door: asyncio.Event


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    global door
    door = asyncio.Event()
    ran.clear()


@app.task(unique=True)
async def refresh(user_id: int, depth: int = 1) -> int:
    ran.append(user_id)
    await door.wait()
    return user_id * depth


def by_user(user_id: int, **_: object) -> int:
    return user_id


@app.task(unique=Unique(key=by_user))
async def invoice(user_id: int, month: str) -> str:
    await door.wait()
    return f"{month} of {user_id}"


@app.task(unique=Unique(key="import", on_conflict="reject"))
async def load_all(source: str) -> str:
    await door.wait()
    return source


@app.task(unique=Unique(key=by_user, on_conflict="replace"))
async def draw(user_id: int, size: int) -> int:
    ran.append(size)
    await door.wait()
    return size


@app.task(unique=Unique(key=by_user, on_conflict="debounce"))
async def index(user_id: int, text: str) -> str:
    ran.append(text)
    await door.wait()
    return text


@app.task(unique=Unique(until="start"))
async def sync(user_id: int) -> int:
    ran.append(user_id)
    await door.wait()
    return user_id


async def test_a_second_call_with_the_same_arguments_returns_the_job_that_is_there() -> None:
    async with running(app):
        first = await refresh.enqueue(7)
        second = await refresh.enqueue(user_id=7, depth=1)
        other = await refresh.enqueue(7, depth=2)

        assert (first.created, second.created, other.created) == (True, False, True)
        assert second.id == first.id != other.id
        door.set()
        assert await second.result(timeout=10) == 7
        assert await other.result(timeout=10) == 14
    assert ran == [7, 7]


async def test_once_it_has_ended_the_next_call_makes_a_new_job() -> None:
    async with running(app):
        door.set()
        first = await refresh.enqueue(7)
        await first.result(timeout=10)

        second = await refresh.enqueue(7)

        assert second.created
        assert await second.result(timeout=10) == 7


async def test_a_key_of_ones_own_says_what_counts() -> None:
    async with running(app):
        may = await invoice.enqueue(7, "May")
        june = await invoice.enqueue(7, "June")
        door.set()

        assert june.id == may.id
        assert await june.result(timeout=10) == "May of 7"


async def test_two_tasks_never_share_a_key() -> None:
    async with running(app):
        jobs = [
            await invoice.enqueue(7, "May"),
            await draw.enqueue(7, 1),
            await index.enqueue(7, ""),
        ]
        assert all(job.created for job in jobs)
        door.set()
        for job in jobs:
            await job.result(timeout=10)


async def test_a_call_may_be_rejected_and_nothing_is_queued_then() -> None:
    async with running(app):
        first = await load_all.enqueue("here")

        with pytest.raises(NotUnique, match="has the same unique key") as refused:
            await load_all.enqueue("there")

        assert refused.value.job_id == first.id
        assert await app.job(refused.value.job_id).status() in {JobState.PENDING, JobState.STARTED}
        door.set()
        assert await first.result(timeout=10) == "here"


async def test_of_a_batch_the_others_are_made() -> None:
    async with running(app):
        door.set()
        signatures = [load_all.s("a").set(countdown=60), load_all.s("b"), refresh.s(1)]

        with pytest.raises(NotUnique) as refused:
            await app.enqueue_many(signatures)

        first, last = refused.value.jobs
        assert refused.value.job_id == first.id
        assert await last.result(timeout=10) == 1
        assert await first.revoke()


async def test_a_job_that_waits_may_be_replaced_and_one_that_runs_is_returned() -> None:
    async with running(app):
        small = await draw.options(countdown=60).enqueue(7, 1)
        large = await draw.enqueue(7, 2)

        with pytest.raises(Revoked, match="a newer call with its unique key replaced it"):
            await small.result(timeout=10)
        await eventually(lambda: ran == [2])
        assert (await draw.enqueue(7, 3)).id == large.id
        door.set()
        assert await large.result(timeout=10) == 2


async def test_calls_that_come_in_quick_succession_make_one_job_with_the_newest_arguments() -> None:
    async with running(app):
        door.set()
        typing = index.options(countdown=0.2)
        jobs = [await typing.enqueue(7, text) for text in ("h", "he", "hel", "hello")]

        assert len({job.id for job in jobs}) == 1
        assert [job.created for job in jobs] == [True, False, False, False]
        assert await jobs[0].result(timeout=10) == "hello"
    assert ran == ["hello"]


async def test_a_debounced_call_while_the_job_runs_makes_the_next_one() -> None:
    async with running(app):
        first = await index.enqueue(7, "one")
        await eventually(lambda: ran == ["one"])

        second = await index.enqueue(7, "two")

        assert second.created
        door.set()
        assert await first.result(timeout=10) == "one"
        assert await second.result(timeout=10) == "two"


async def test_a_key_until_the_start_lets_one_job_run_and_one_wait() -> None:
    async with running(app, concurrency=1):
        runs = await sync.enqueue(7)
        await eventually(lambda: ran == [7])
        waits = await sync.enqueue(7)
        third = await sync.enqueue(7)

        assert waits.created
        assert third.id == waits.id != runs.id
        door.set()
        assert await waits.result(timeout=10) == 7


async def test_a_call_says_otherwise() -> None:
    async with running(app):
        first = await refresh.enqueue(7)
        again = await refresh.options(unique=False).enqueue(7)
        plain = await invoice.s(8, "May").set(unique=Unique(for_=3600)).enqueue()
        named = await app.send_task(refresh.name, args=(7,))
        door.set()

        assert again.created
        assert again.id != first.id
        assert plain.created
        assert named.id == first.id
        for job in (first, again, plain):
            await job.result(timeout=10)


async def test_a_task_known_by_name_only_needs_a_key() -> None:
    async with running(app):
        with pytest.raises(ConfigurationError, match="its arguments cannot be compared"):
            await app.send_task("elsewhere", args=(1,), unique=True)
        once = Unique(key="nightly")
        first = await app.send_task("elsewhere", args=(1,), unique=once, countdown=60)
        second = await app.send_task("elsewhere", args=(2,), unique=once)
        assert second.id == first.id
        assert await first.revoke()


async def test_an_idempotency_key_returns_the_result_that_is_there() -> None:
    """The id of a job is such a key: it is known for as long as its result is kept."""
    async with running(app):
        door.set()
        call = refresh.options(job_id="order-17")
        first = await call.enqueue(7)
        assert await first.result(timeout=10) == 7

        again = await call.enqueue(7)

        assert not again.created
        assert await again.result(timeout=10) == 7
    assert ran == [7]


def enqueue_twice_from_sync_code() -> None:
    first = load_all.options(countdown=60).enqueue_sync("a")
    with pytest.raises(NotUnique) as refused:
        load_all.enqueue_sync("b")
    kept = load_all.options(unique=Unique(key="import")).enqueue_sync("c")
    assert (refused.value.job_id, kept.id, kept.created) == (first.id, first.id, False)
    assert first.revoke_sync()


async def test_in_sync_code_it_is_the_same() -> None:
    async with running(app):
        await asyncio.to_thread(enqueue_twice_from_sync_code)
