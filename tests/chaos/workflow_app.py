"""The app whose workflows are sent through chaos: each task writes down when it starts and returns.

Kills from outside hit the innocent, so no number of crashes buries a job here.
"""

import asyncio

from aioq import Aioq, Settings, current_job
from tests.chaos import journal

app = Aioq(name="test", settings=Settings(result_expires=7200, enqueue_timeout=60))
_journal = journal.of_this_process()


@app.task(max_crashes=None)
async def member(name: str, value: int) -> int:
    return await _returned(name, value)


@app.task(max_crashes=None)
async def step(value: int, name: str) -> int:
    return await _returned(name, value + 1)


@app.task(max_crashes=None)
async def body(values: list[int], name: str) -> int:
    return await _returned(name, sum(values))


@app.task(max_crashes=None)
async def node(*inputs: int, name: str) -> int:
    return await _returned(name, 1 + sum(inputs))


async def _returned(name: str, value: int) -> int:
    job_id = current_job().job_id
    _write("start", name, job_id)
    await asyncio.sleep(0.04)  # so that deaths find somebody at work
    _write("returned", name, job_id)
    return value


def _write(kind: str, *words: object) -> None:
    if _journal is not None:
        _journal.write(kind, *words)
