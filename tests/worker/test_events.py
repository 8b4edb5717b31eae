"""Progress on its way to the server: not too often, the first and the last always, and in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import pytest

from aioq import CONTEXT, Aioq, Context, JobState, JobUpdate, Revoked, Settings, TaskFailed
from aioq.broker.resp import ReplyError
from aioq.embedded import PrivateServer
from aioq.testing import running
from aioq.worker import reports
from aioq.worker.reports import Reports
from tests.eventually import eventually

app = Aioq(settings=Settings(lease=2))
go_on: asyncio.Event


@app.task(max_retries=0)
async def failing(ctx: Context = CONTEXT) -> None:
    for done in range(50):
        await ctx.progress(done, 49)
    message = "after all"
    raise ValueError(message)


@app.task
async def held(ctx: Context = CONTEXT) -> None:
    try:
        for done in range(50):
            await ctx.progress(done, 49)
        await go_on.wait()
    finally:
        await ctx.progress(99, 49)
        await ctx.progress(100, 49)


@app.task
async def greedy(ctx: Context = CONTEXT) -> int:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    for done in range(1000):
        await ctx.progress(done)
    beating.cancel()
    return beats


@app.task(max_retries=0)
async def reporting_what_is_no_report(kind: str, ctx: Context = CONTEXT) -> None:
    await ctx.progress(1, what=object() if kind == "an object" else "x" * 2_000_000)


async def told(updates: AsyncIterator[JobUpdate]) -> list[JobUpdate]:
    async with asyncio.timeout(30):
        return [update async for update in updates]


class Server:
    """Notes what it is sent; a report takes as long as it is told."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def note(self, progress: bytes) -> bool:
        await self.answers.wait()
        self.sent.append(progress)
        return True


async def test_one_report_after_the_other_however_slow_the_server_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports, "PAUSE", 0.001)
    server = Server()
    of_job = Reports(server.note)
    server.answers.clear()
    first = asyncio.ensure_future(of_job.report(b"1"))
    await asyncio.sleep(0.002)
    for number in range(2, 6):
        await asyncio.wait_for(of_job.report(b"%d" % number), 10)
        await asyncio.sleep(0.002)
    server.answers.set()
    await first
    await of_job.finished()

    assert server.sent == [b"1", b"5"]


async def test_reports_that_come_slowly_are_all_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "PAUSE", 0.0)
    server = Server()
    of_job = Reports(server.note)
    numbers = [b"%d" % number for number in range(20)]
    for number in numbers:
        await of_job.report(number)
    await of_job.finished()

    assert server.sent == numbers


async def test_the_latest_goes_by_itself_when_its_time_has_come() -> None:
    server = Server()
    of_job = Reports(server.note)
    for number in (b"1", b"2", b"3"):
        await of_job.report(number)
    assert server.sent == [b"1"]

    await eventually(lambda: server.sent == [b"1", b"3"])


async def test_a_cancellation_that_comes_too_late_does_not_stop_the_last_word() -> None:
    server = Server()
    of_job = Reports(server.note)
    await of_job.report(b"1")
    await of_job.report(b"2")
    server.answers.clear()
    finishing = asyncio.ensure_future(of_job.finished())
    await asyncio.sleep(0)
    finishing.cancel()

    await finishing


async def test_a_task_that_only_reports_blocks_nobody() -> None:
    async with running(app):
        assert await (await greedy.enqueue()).result(timeout=20) >= 500


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("an object", r"the progress cannot be serialised: builtins\.object"),
        ("too large", r"the progress takes 2,000,\d\d\d bytes, more than max_payload=1,048,576"),
    ],
)
async def test_what_is_no_report_is_an_error_in_the_task(kind: str, says: str) -> None:
    async with running(app):
        job = await reporting_what_is_no_report.enqueue(kind)
        with pytest.raises(TaskFailed, match=says):
            await job.result(timeout=30)


async def test_the_last_report_is_told_before_a_failure() -> None:
    async with running(app):
        job = await failing.enqueue()
        updates = await told(job.events())
        with pytest.raises(TaskFailed):
            await job.result(timeout=10)

    assert updates[-1].state is JobState.FAILURE
    assert updates[-2].progress is not None
    assert updates[-2].progress.current == 49


async def test_a_revoked_job_may_still_report_while_it_cleans_up() -> None:
    global go_on
    go_on = asyncio.Event()
    async with running(app):
        job = await held.enqueue()
        async with asyncio.timeout(30), aclosing(job.events()) as updates:
            async for update in updates:
                if update.progress is not None and update.progress.current == 49:
                    break
            await job.revoke()
            rest = [update async for update in updates]
        with pytest.raises(Revoked):
            await job.result(timeout=10)

    assert rest[-1].state is JobState.REVOKED
    assert [update.progress.current for update in rest if update.progress][-1] == 100


async def test_an_outage_fails_no_job_that_reports() -> None:
    global go_on
    go_on = asyncio.Event()
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url):
            job = await held.enqueue()
            updates = asyncio.ensure_future(told(job.events()))

            async def has_begun() -> bool:
                return await job.status() is JobState.PROGRESS

            await eventually(has_begun)
            server.kill()
            go_on.set()
            await asyncio.to_thread(server.restart)
            await job.result(timeout=30)
            ended = await updates

    assert ended[-1].state is JobState.SUCCESS
    assert sum(update.state.is_final for update in ended) == 1


async def test_a_refusal_of_the_server_fails_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from aioq.broker.broker import Broker  # noqa: PLC0415 - only here

    async def refuse(*_: object) -> bool:
        message = "ERR no"
        raise ReplyError(message)

    async with running(app):
        monkeypatch.setattr(Broker, "update", refuse)
        with suppress(TaskFailed):
            await (await failing.enqueue()).result(timeout=10)
        assert await (await greedy.enqueue()).result(timeout=20) > 0
