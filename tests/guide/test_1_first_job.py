"""A task, a worker, a job and its result."""

from aioq import Aioq, Job, JobState
from aioq.testing import running

app = Aioq()


@app.task
async def add(x: int, y: int) -> int:
    return x + y


@app.task
def shout(text: str) -> str:
    return text.upper()


async def test_enqueue_makes_a_job_and_result_waits_for_it() -> None:
    async with running(app):
        job = await add.enqueue(4, 6)

        assert isinstance(job, Job)
        assert await job.result(timeout=10) == 10


async def test_a_plain_call_runs_the_function_here_and_now() -> None:
    assert await add(4, 6) == 10
    assert shout("hello") == "HELLO"


async def test_a_plain_def_runs_in_a_thread() -> None:
    async with running(app):
        job = await shout.enqueue("hello")

        assert await job.result(timeout=10) == "HELLO"


async def test_a_worker_can_be_asked_to_run_until_it_is_idle() -> None:
    async with running(app) as worker:
        job = await add.enqueue(1, 2)
        await worker.run_until_idle()

        assert await job.status() is JobState.SUCCESS
        assert await job.result() == 3
