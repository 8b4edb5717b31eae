"""Progress is good to have: an outage costs the report, never the job."""

import asyncio

import pytest

from aioq import CONTEXT, Aioq, BrokerUnavailable, Context, Settings
from aioq.embedded import PrivateServer
from aioq.testing import running
from tests.eventually import eventually

app = Aioq(settings=Settings(enqueue_timeout=1))
outage: asyncio.Event
reported: asyncio.Event


@pytest.fixture(autouse=True)
async def all_is_well() -> None:
    global outage, reported
    outage, reported = asyncio.Event(), asyncio.Event()


@app.task
async def reporting(ctx: Context = CONTEXT) -> str:
    await ctx.progress(1, 2)
    await outage.wait()
    await ctx.progress(2, 2)
    reported.set()
    return "done"


@app.task
def reporting_from_a_thread(ctx: Context = CONTEXT) -> str:
    ctx.progress_sync(1, 2)
    return "done"


async def test_a_report_that_does_not_arrive_fails_no_job() -> None:
    with PrivateServer(appendonly=True) as server:
        async with running(app, url=server.url) as worker:
            job = await reporting.enqueue()
            await eventually(lambda: worker.running == 1)
            server.kill()
            outage.set()
            with pytest.raises(BrokerUnavailable):
                await reporting.enqueue()
            await eventually(reported.is_set)
            await asyncio.to_thread(server.restart)

            assert await job.result(timeout=30) == "done"
            assert await (await reporting_from_a_thread.enqueue()).result(timeout=30) == "done"
