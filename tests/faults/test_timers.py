"""Whoever knew of a due time may be gone by then: the others find out in time."""

import signal

import pytest

from tests.eventually import eventually
from tests.faults.conftest import Shop


@pytest.mark.parametrize("who", [0, 1])
async def test_a_job_whose_timer_was_a_frozen_workers_runs_elsewhere(shop: Shop, who: int) -> None:
    """The token of a new due time goes to one worker; the other hears of it by its next beat.

    By itself an idle worker looks after 15 s only, which is later than this test waits.
    """
    workers = [shop.terminal.start_worker("tasks:app") for _ in range(2)]
    broker = shop.app.client.broker()

    async def both_wait() -> bool:
        clients: bytes = await broker.command("CLIENT", "LIST")
        return clients.count(b" cmd=blpop ") == 2

    async def one_has_heard() -> bool:
        return await broker.command("LLEN", broker.keys.bell("default")) == 0

    await eventually(both_wait)
    job = await shop.app.send_task("tasks.patient", args=("late",), countdown=3)
    await eventually(one_has_heard)
    workers[who].send(signal.SIGSTOP)
    try:
        assert await job.result(timeout=10) == "done"
        assert shop.runs("late") == [str(workers[1 - who].pid)]
    finally:
        workers[who].send(signal.SIGCONT)


async def test_a_pause_outlives_every_worker_and_a_flushed_script_cache(shop: Shop) -> None:
    await shop.app.queues.pause("default")
    first = shop.terminal.start_worker("tasks:app")
    job = await shop.app.send_task("tasks.patient", args=("a",))
    first.send(signal.SIGKILL)
    first.end()
    await shop.app.client.broker().command("SCRIPT", "FLUSH")
    shop.terminal.start_worker("tasks:app")

    async def is_served() -> bool:
        [queue] = await shop.app.queues.list()
        return queue.workers > 0 and queue.paused and queue.depth == 1

    await eventually(is_served)
    assert shop.runs("a") == []
    assert await shop.app.queues.resume("default")
    assert await job.result(timeout=20) == "done"
