"""What lies on the server is all there is: no worker's memory or moment decides about a job."""

import asyncio

import pytest

from aioq import Aioq, JobNotFound, JobState
from aioq.testing import running
from tests.eventually import eventually
from tests.faults.conftest import Shop

app = Aioq()
starts: list[str] = []


@pytest.fixture(autouse=True)
def nothing_has_started() -> None:
    starts.clear()


@app.task
async def note(name: str) -> str:
    starts.append(name)
    return name


async def test_what_was_enqueued_before_there_was_any_worker_is_run_in_order(
    empty_url: str,
) -> None:
    """A reader that begins with what is new skips all that came before it."""
    with app.connected_to(empty_url):
        jobs = [await note.enqueue(f"{n}") for n in range(20)]
        assert {await job.status() for job in jobs} == {JobState.PENDING}
        async with running(app, url=empty_url, concurrency=1):
            for job in jobs:
                await job.result(timeout=20)

    assert starts == [f"{n}" for n in range(20)]


async def test_what_was_due_while_no_worker_ran_is_run_by_the_next_one(empty_url: str) -> None:
    """A delayed job that some worker holds in its memory is gone, or late, with that worker."""
    with app.connected_to(empty_url):
        async with running(app, url=empty_url) as first:
            job = await note.options(countdown=0.5).enqueue("due")
            first.drain()
            await eventually(lambda: first.has_left)
        with app.connected_to(empty_url):
            assert await job.status() is JobState.PENDING
            await asyncio.sleep(0.6)  # until it is due
            async with running(app, url=empty_url):
                assert await job.result(timeout=20) == "due"

    assert starts == ["due"]


async def test_a_delayed_job_outlives_all_workers_that_have_seen_it(shop: Shop) -> None:
    worker = shop.terminal.start_worker("tasks:app")
    job = await shop.app.send_task("tasks.patient", args=("job",), countdown=1.5)
    shop.terminal.clean_up()
    assert worker.end().code < 0
    shop.terminal.start_worker("tasks:app")

    assert await job.result(timeout=20) == "done"
    assert len(shop.runs("job")) == 1


async def test_a_revoke_of_an_unknown_id_does_not_wait_for_a_job_of_that_name(
    empty_url: str,
) -> None:
    """Noted in a list of its own, it would end a job that is made later, or stay for ever."""
    async with running(app, url=empty_url):
        assert not await app.job("later").revoke()
        with pytest.raises(JobNotFound):
            await app.job("later").status()
        job = await note.options(job_id="later").enqueue("later")

        assert await job.result(timeout=20) == "later"


async def test_an_ended_job_of_the_same_id_is_neither_run_again_nor_changed(
    empty_url: str,
) -> None:
    """Sent again much later, by a producer that was away, an id is still the job that it was."""
    async with running(app, url=empty_url) as worker:
        job = await note.options(job_id="once").enqueue("first")
        assert await job.result(timeout=20) == "first"
        again = await note.options(job_id="once").enqueue("second")
        await worker.run_until_idle()

        assert (again.created, await again.result(timeout=20)) == (False, "first")
    assert starts == ["first"]
