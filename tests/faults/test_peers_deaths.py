"""Workers that die, freeze or hang: what they ran goes on elsewhere, once, and in its own right."""

import signal

import pytest

from aioq import JobState, Revoked
from tests.cli.terminal import Running, alive
from tests.eventually import eventually
from tests.faults.conftest import Shop

PATIENCE = 40
"""Seconds: the delays of a suspect add up to some, and starting a process takes one."""


def start_worker(shop: Shop) -> Running:
    return shop.terminal.start_worker("tasks:app")


async def test_a_task_that_kills_its_worker_is_buried_and_its_neighbours_go_free(
    shop: Shop,
) -> None:
    """Redelivered without a limit, such a message ends one worker after the other."""
    neighbours = [await shop.app.send_task("tasks.patient", args=(f"n{n}",)) for n in range(5)]
    deadly = await shop.app.send_task("tasks.deadly", args=("deadly",))
    workers = [start_worker(shop)]

    async def is_buried() -> bool:
        if not alive(workers[-1].pid):
            workers.append(start_worker(shop))
        return await deadly.failed()

    await eventually(is_buried, seconds=PATIENCE)
    for neighbour in neighbours:
        assert await neighbour.result(timeout=PATIENCE) == "done"
        assert (await neighbour.info()).retries == 0
    info = await deadly.info()
    assert (info.crashes, info.retries, len(shop.runs("deadly"))) == (3, 0, 3)
    assert info.error is not None
    assert "max_crashes=3" in info.error.exc_message


async def test_the_job_of_a_killed_worker_needs_no_new_message_to_be_taken_over(shop: Shop) -> None:
    """A worker that looks for orphans only when a message arrives leaves the last one lying."""
    first = start_worker(shop)
    job = await shop.app.send_task("tasks.held", args=("job",))
    await eventually(lambda: shop.runs("job"))
    second = start_worker(shop)
    first.send(signal.SIGKILL)
    await eventually(lambda: len(shop.runs("job")) == 2)
    shop.let_go("job")

    assert await job.result(timeout=20) == "done"
    assert shop.runs("job") == [str(first.pid), str(second.pid)]
    info = await job.info()
    assert (info.crashes, info.retries) == (1, 0)


async def test_a_late_failure_does_not_overwrite_the_success_of_another_worker(shop: Shop) -> None:
    """A worker that was frozen for longer than its lease still believes that the job is its own."""
    first = start_worker(shop)
    job = await shop.app.send_task("tasks.failing_when_let_go", args=("job",))
    await eventually(lambda: shop.runs("job"))
    first.send(signal.SIGSTOP)
    start_worker(shop)
    assert await job.result(timeout=20) == "done"
    shop.let_go("job")
    first.send(signal.SIGCONT)
    first.says("was lost: others have its jobs")

    assert await job.status() is JobState.SUCCESS
    assert (await job.info()).error is None
    assert len(shop.runs("job")) == 2


async def test_deploys_and_crashes_consume_no_retries(shop: Shop) -> None:
    """Where each start counts as a try, three deploys in a row fail a job that did no wrong."""
    job = await shop.app.send_task("tasks.failing_once", args=("job",))
    for count, number in enumerate([signal.SIGTERM, signal.SIGKILL, signal.SIGTERM], 1):
        worker = shop.terminal.start_worker("tasks:app", AIOQ_GRACE="0.1")
        await eventually(lambda count=count: len(shop.runs("job")) == count)
        worker.send(number)
        worker.end()
    shop.let_go("job")
    start_worker(shop)

    assert await job.result(timeout=20) == "done"
    info = await job.info()
    assert (info.retries, info.crashes, info.deliveries) == (1, 0, 5)


async def test_a_loop_that_hangs_for_two_leases_lets_its_jobs_go_and_says_where(shop: Shop) -> None:
    """A thread that beats for a loop which is stuck would hold its jobs for ever."""
    hanging = start_worker(shop)
    job = await shop.app.send_task("tasks.blocking_the_loop", args=("job", 3600.0))
    await eventually(lambda: shop.runs("job"))
    start_worker(shop)

    assert await job.result(timeout=20) == "done"
    assert len(shop.runs("job")) == 2
    hanging.says("The event loop has not turned for 2 s: a task blocks it.")
    hanging.says("in blocking_the_loop")


async def test_a_job_that_was_revoked_does_not_run_again_when_its_worker_dies(shop: Shop) -> None:
    """A revoke that only the worker has heard of dies with it."""
    first = start_worker(shop)
    job = await shop.app.send_task("tasks.held", args=("job",))
    await eventually(lambda: shop.runs("job"))
    first.send(signal.SIGSTOP)
    assert await job.revoke()
    first.send(signal.SIGKILL)
    start_worker(shop)
    with pytest.raises(Revoked):
        await job.result(timeout=20)

    assert len(shop.runs("job")) == 1


async def test_a_frozen_worker_that_is_woken_for_a_job_keeps_nobody_from_it(shop: Shop) -> None:
    """Whoever waits longest is woken, also where it cannot hear: then somebody else must be."""
    broker = shop.app.client.broker()

    async def waits() -> bool:
        return b" cmd=blpop " in await broker.command("CLIENT", "LIST")

    frozen = start_worker(shop)
    await eventually(waits)
    frozen.send(signal.SIGSTOP)
    start_worker(shop)
    job = await shop.app.send_task("tasks.patient", args=("job",))
    # Without anybody's help it is found when the doorbell has been waited for in vain, after 15 s.
    assert await job.result(timeout=8) == "done"


async def test_the_first_death_is_forgiven_though_its_job_ran_for_long(shop: Shop) -> None:
    """Crashes are counted apart from retries, and a clean end is a clean end."""
    first = start_worker(shop)
    job = await shop.app.send_task("tasks.held", args=("job",))
    await eventually(lambda: shop.runs("job"))
    start_worker(shop)
    first.send(signal.SIGKILL)
    shop.let_go("job")

    assert await job.result(timeout=20) == "done"
    assert (await job.info()).crashes == 1
