"""A worker that dies in the middle of a batch: every job runs again, and each for itself."""

import pytest

from aioq import JobState
from tests.cli.terminal import alive
from tests.eventually import eventually
from tests.faults.conftest import Shop

POISON = 13
BATCHES = f"""
import os
import signal
from pathlib import Path

from aioq import Aioq

app = Aioq()


@app.batch_task(size=5, wait=3600)
async def index(items: list[int]) -> list[int]:
    with Path("calls").open("a") as calls:
        calls.write(f"{{' '.join(map(str, items))}}\\n")
    if {POISON} in items or not Path("deadly").exists():
        Path("deadly").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [item * 2 for item in items]
"""


@pytest.mark.parametrize("items", [[1, 2, 3, 4, 5], [1, 2, 3, 4, POISON]])
async def test_a_killed_worker_loses_no_job_of_its_batch(shop: Shop, items: list[int]) -> None:
    """Each counts a crash; after the second each runs alone, and waits for nobody to join it."""
    shop.terminal.write("batches.py", BATCHES)
    jobs = [await shop.app.send_task("batches.index", args=(item,)) for item in items]
    workers = [shop.terminal.start_worker("batches:app")]

    async def all_have_ended() -> bool:
        if not alive(workers[-1].pid):
            workers.append(shop.terminal.start_worker("batches:app"))
        return all([await job.ready() for job in jobs])

    await eventually(all_have_ended, seconds=60)
    has_poison = POISON in items
    for item, job in zip(items, jobs, strict=True):
        info = await job.info()
        if item == POISON:
            assert (info.state, info.crashes) == (JobState.FAILURE, 3)
        else:
            assert await job.result(timeout=10) == item * 2
            assert (info.crashes, info.retries) == (2 if has_poison else 1, 0)
    calls = [
        sorted(int(item) for item in line.split())
        for line in (shop.terminal.folder / "calls").read_text().splitlines()
    ]
    assert calls[:2] == [items, items]
    assert sorted(calls[2:]) == ([[item] for item in items] if has_poison else [])
