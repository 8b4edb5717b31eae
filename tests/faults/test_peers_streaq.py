"""What goes wrong in streaq 7.2, each failure by its number in a reading of its code.

 1  a success is overwritten, since what waits in a worker is handed out again
    test_jobs_that_wait_inside_a_worker_for_longer_than_the_lease_are_not_orphans,
    test_a_late_failure_does_not_overwrite_the_success_of_another_worker
 2  a step that waits for longer than results live ends one worker after the other: here
 3  an outage ends the process
    test_a_job_that_ends_during_an_outage_is_settled_afterwards,
    test_a_worker_without_a_server_neither_spins_nor_fills_the_log
 4  processes are not supervised
    test_a_worker_that_is_killed_is_replaced_and_its_job_runs_again_at_once,
    test_the_first_signal_drains_all
 5  what comes next is lost in a crash, or gets the priority of what came before: here
 6  what comes after an unknown job waits for ever, what comes after a failed one runs: here
 7  errors are not retried
    test_an_error_to_retry_waits_for_the_delay_of_the_policy,
    test_every_option_that_retries_by_itself
 8  a worker that stood still takes its jobs back from the one that runs them by now
    test_a_late_failure_does_not_overwrite_the_success_of_another_worker
 9  deliveries are counted as retries, a unique key is that of the task, and anybody frees it
    test_deploys_and_crashes_consume_no_retries,
    test_no_two_jobs_of_a_key_ever_run_at_once_across_workers_and_producers,
    test_a_key_with_a_bound_is_free_when_that_has_passed_and_the_first_job_takes_nothing_back
10  a queued job is said to run, and a revoke of an unknown id stays for ever
    test_a_job_behind_a_busy_worker_is_pending_and_runs_elsewhere,
    test_a_revoke_of_an_unknown_id_does_not_wait_for_a_job_of_that_name
11  the caller's list of priorities is turned round: here, of queues
12  a worker takes more than it runs, cancels at the first signal, and a limit inside another one
    lengthens it
    test_no_more_jobs_run_than_the_concurrency, test_a_draining_worker_lets_its_jobs_end,
    test_a_drain_does_not_lengthen_a_limit
13  removed schedules go on, low priorities starve, and all that is due moves in one call
    test_what_was_taken_out_of_the_code_is_gone_and_what_is_new_is_there,
    test_after_seven_of_a_higher_priority_comes_one_of_the_lowest,
    test_more_than_a_call_takes_is_due_at_once
14  each waiter has a connection, and one whose message was lost waits for ever
    test_a_thousand_waiters_share_one_subscription,
    test_a_lost_notification_does_not_strand_a_waiter
"""

from collections.abc import Callable

import pytest

from aioq import ConfigurationError, JobState, TaskFailed, chain, chord
from aioq.testing import running
from aioq.worker import Worker
from tests.broker.place import Place
from tests.eventually import eventually
from tests.faults.calculations import (
    PATIENCE,
    all_of,
    app,
    counted,
    failing,
    held,
    leaf,
    ledger,
    members,
    plus,
    quiet,
    workers,
)
from tests.faults.proxy import proxy_to


@pytest.fixture(autouse=True)
async def nothing_has_run() -> None:
    ledger.reset()


async def test_streaq_2_a_chain_whose_step_waits_longer_than_results_live(place: Place) -> None:
    """What a step takes over is its own: nobody asks how long the result before it is kept."""
    async with workers(place) as worker:
        steps = leaf.s(1) | plus.s(2).set(queue="later")
        handle = await steps.enqueue()
        (first,) = await all_of("leaf", place, handle.id)
        assert await app.job(first).result(timeout=PATIENCE) == 1
        place.admin("DEL", f"{place.prefix}j:{first}", f"{place.prefix}v:{first}")
        assert await handle.status() is JobState.PENDING
        async with running(app, url=place.url, queues=["later"]):
            assert await handle.result(timeout=PATIENCE) == 3
        assert not worker.has_left
    assert set(ledger.runs.values()) == {1}


async def test_streaq_5_the_next_step_is_neither_lost_nor_made_twice_when_a_reply_is_lost(
    place: Place,
) -> None:
    """The end of a step and the beginning of the next are one: no moment lies between them."""
    with app.connected_to(place.url):
        async with proxy_to(place.url) as proxy, running(app, url=proxy.url):
            for reach in range(1, 60, 6):
                handle = await chain(held.s(1), plus.s(1), plus.s(1)).enqueue()
                await eventually(lambda: ledger.times("held") == 1, seconds=PATIENCE)
                proxy.cut_after(reach)
                ledger.door.set()
                assert await handle.result(timeout=PATIENCE) == 3
                assert set(ledger.runs.values()) == {1}
                ledger.reset()
        await app.aclose()


async def test_streaq_5_the_next_step_keeps_its_own_queue_and_priority(place: Place) -> None:
    async with workers(place):
        steps = leaf.s(1).set(priority=9) | plus.s(1).set(queue="slow", priority=2)
        handle = await steps.enqueue()
        (first,) = await all_of("leaf", place, handle.id)
        await app.job(first).result(timeout=PATIENCE)
        assert place.admin("XLEN", f"{place.prefix}s:slow:2") == 1
        info = await handle.info()
        assert (info.queue, info.priority) == ("slow", 2)
        async with running(app, url=place.url, queues=["slow"]):
            assert await handle.result(timeout=PATIENCE) == 2


UNKNOWN: dict[str, Callable[[], object]] = {
    "a name that no node has": lambda: app.graph({"a": leaf.s(1), "b": plus.s(1).after("x")}),
    "its own name": lambda: app.graph({"a": plus.s(1).after("a")}),
    "a circle": lambda: app.graph({"a": plus.s(1).after("b"), "b": plus.s(1).after("a")}),
}


@pytest.mark.parametrize("what", UNKNOWN)
async def test_streaq_6_a_step_after_what_cannot_be_is_an_error_and_nothing_is_queued(
    place: Place, what: str
) -> None:
    with pytest.raises((ConfigurationError, ValueError)):
        UNKNOWN[what]()
    assert place.snapshot() == {}


async def test_streaq_6_what_comes_after_a_failed_job_does_not_run(place: Place) -> None:
    async with workers(place):
        handle = await chain(failing.s(1), plus.s(1), plus.s(1)).enqueue()
        with pytest.raises(TaskFailed, match="failing failed"):
            await handle.result(timeout=PATIENCE)
        for job_id in members(place, handle.id):
            assert await app.job(job_id).status() is JobState.FAILURE

    assert ledger.times("plus") == 0


async def test_streaq_6_what_comes_after_a_job_without_a_result_runs(place: Place) -> None:
    """Its result is None, to whoever asks, and to what waits for it."""
    async with workers(place):
        handle = await chord([quiet.s(1), quiet.s(2)], counted.s()).enqueue()
        assert await handle.result(timeout=PATIENCE) == 2


def test_streaq_11_two_workers_that_are_made_with_one_list_have_one_order() -> None:
    queues = ["first", "second", "third"]
    made = [Worker(app, queues=queues) for _ in range(2)]
    assert {each.queues for each in made} == {("first", "second", "third")}
    assert queues == ["first", "second", "third"]
