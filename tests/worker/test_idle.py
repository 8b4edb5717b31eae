"""Waiting until a worker has nothing to do."""

from aioq import Aioq
from aioq.testing import running

app = Aioq()


@app.task
async def echo(value: int) -> int:
    return value


async def test_a_job_that_was_handed_out_and_has_not_started_yet_keeps_a_worker_busy() -> None:
    """Its delivery is on the way when nothing is queued any more and nothing runs yet."""
    async with running(app) as worker:
        for value in range(300):
            job = await echo.enqueue(value)
            await worker.run_until_idle()
            assert await job.ready()
