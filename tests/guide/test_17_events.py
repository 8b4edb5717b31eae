"""What happens to jobs, as it happens: progress, the life of one job, and the events of all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

from aioq import CONTEXT, Aioq, Context, JobState, JobUpdate, Settings
from aioq.testing import running

app = Aioq()
quiet = Aioq(settings=Settings(events=False))


@app.task
async def copy(files: int, ctx: Context = CONTEXT) -> int:
    for done in range(1, files + 1):
        await ctx.progress(done, files)
    return files


@app.task(max_retries=1, default_retry_delay=0, retry_jitter=False)
async def unsteady(ctx: Context = CONTEXT) -> str:
    if ctx.request.retries == 0:
        ctx.retry(countdown=0)
    return "at last"


@app.task
def copy_in_a_thread(files: int, ctx: Context = CONTEXT) -> None:
    for done in range(1, files + 1):
        ctx.progress_sync(done, files)


@quiet.task
async def unseen() -> int:
    return 1


async def told(updates: AsyncIterator[JobUpdate]) -> list[JobUpdate]:
    async with asyncio.timeout(20):
        return [update async for update in updates]


async def test_a_job_is_followed_from_its_start_to_its_end() -> None:
    async with running(app):
        job = await copy.enqueue(1)
        updates = await told(job.events())

    states = [update.state for update in updates]
    assert states == [JobState.PENDING, JobState.STARTED, JobState.PROGRESS, JobState.SUCCESS]
    assert all(update.id == job.id for update in updates)
    assert [update.at for update in updates] == sorted(update.at for update in updates)


async def test_a_job_that_has_ended_is_told_from_its_start_too() -> None:
    async with running(app):
        job = await copy.enqueue(1)
        await job.result(timeout=10)
        updates = await told(job.events())

    assert [update.state for update in updates][::3] == [JobState.PENDING, JobState.SUCCESS]


async def test_a_retry_is_told() -> None:
    async with running(app):
        job = await unsteady.enqueue()
        states = [update.state for update in await told(job.events())]

    attempt = [JobState.STARTED]
    assert states == [JobState.PENDING, *attempt, JobState.RETRY, *attempt, JobState.SUCCESS]


async def test_the_first_and_the_last_report_are_kept_of_however_many() -> None:
    async with running(app):
        for task in (copy, copy_in_a_thread):
            job = await task.enqueue(1000)
            updates = await told(job.events())
            reports = [update.progress.current or 0 for update in updates if update.progress]

            assert (reports[0], reports[-1]) == (1, 1000)
            assert reports == sorted(set(reports))
            assert len(reports) < 900


async def test_a_revoked_job_ends_so() -> None:
    async with running(app):
        job = await copy.options(countdown=60).enqueue(1)
        await job.revoke()
        states = [update.state for update in await told(job.events())]

    assert states == [JobState.PENDING, JobState.REVOKED]


async def test_all_jobs_are_told_and_the_telling_goes_on_at_any_position() -> None:
    begin = datetime.now(UTC)
    async with running(app):
        jobs = [await copy.enqueue(1) for _ in range(3)]
        everything: list[JobUpdate] = []
        async with asyncio.timeout(20), aclosing(app.events(since=begin)) as updates:
            while sum(update.state.is_final for update in everything) < len(jobs):
                everything.append(await anext(updates))
        assert {update.id for update in everything} == {job.id for job in jobs}

        middle = everything[len(everything) // 2]
        async with asyncio.timeout(20), aclosing(app.events(since=middle.position)) as updates:
            assert await anext(updates) == everything[len(everything) // 2 + 1]


async def test_without_events_a_job_has_a_state_and_an_end() -> None:
    async with running(quiet):
        job = await unseen.enqueue()
        updates = await told(job.events())

    assert updates[-1].state is JobState.SUCCESS
