"""Drain, give back, leave at once; and the stacks of everything."""

import signal

import pytest

from tests.cli.terminal import Running, Terminal, wait_until

LOOPS = ["uvloop", "asyncio"]


@pytest.fixture(params=LOOPS)
def on_each_loop(request: pytest.FixtureRequest, shop: Terminal) -> Terminal:
    """The shop, where uvloop is there and where it is not."""
    if request.param == "asyncio":
        shop.write("uvloop.py", "raise ImportError\n")
    return shop


def start(shop: Terminal, task: str, **environ: str) -> tuple[Running, str]:
    """Start a worker that runs one job."""
    worker = shop.start_worker("tasks:app", **environ)
    job_id = shop.enqueue(f"tasks.{task}", "this")
    wait_until((shop.folder / "this.started").exists)
    return worker, job_id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_the_jobs_end(on_each_loop: Terminal, number: signal.Signals) -> None:
    worker, job_id = start(on_each_loop, "held")
    worker.send(number)
    worker.says(f"{number.name}: waiting for 1 running jobs, at most 25 s; a second signal")
    later = on_each_loop.enqueue("tasks.add", "1", "2")
    (on_each_loop.folder / "this.go").touch()

    assert worker.end().code == 0
    assert on_each_loop.state(job_id) == "SUCCESS"
    assert on_each_loop.state(later) == "PENDING"


def test_jobs_that_outlast_the_grace_are_given_back(shop: Terminal) -> None:
    worker, job_id = start(shop, "held", AIOQ_GRACE="0.1")
    worker.send(signal.SIGTERM)

    assert worker.end().code == 0
    assert shop.state(job_id) == "PENDING"


def test_the_second_signal_gives_the_jobs_back(on_each_loop: Terminal) -> None:
    worker, job_id = start(on_each_loop, "held")
    worker.send(signal.SIGTERM)
    worker.says("waiting for 1 running jobs")
    worker.send(signal.SIGINT)
    ended = worker.end()

    assert ended.code == 0
    assert "SIGINT: giving 1 running jobs back" in ended.err
    assert on_each_loop.state(job_id) == "PENDING"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_third_signal_leaves_at_once(shop: Terminal, number: signal.Signals, code: int) -> None:
    worker, _ = start(shop, "stubborn")
    worker.send(signal.SIGTERM)
    worker.says("waiting for 1 running jobs")
    worker.send(signal.SIGTERM)
    wait_until((shop.folder / "this.cancelled").exists)
    worker.send(number)
    ended = worker.end()

    assert ended.code == code
    assert f"a third signal ({number.name}), leaving at once" in ended.err


def test_the_third_signal_reaches_a_loop_that_is_blocked(on_each_loop: Terminal) -> None:
    worker, _ = start(on_each_loop, "blocking_the_loop")
    worker.send_until_it_ends(signal.SIGTERM)

    assert worker.end().code == 143


@pytest.mark.parametrize("task", ["in_a_thread", "in_a_thread_of_its_own"])
def test_a_thread_inside_a_task_does_not_keep_the_process(shop: Terminal, task: str) -> None:
    worker, job_id = start(shop, task, AIOQ_GRACE="0.1")
    worker.send(signal.SIGTERM)
    ended = worker.end()

    assert ended.code == 0
    assert "Leaving although 1 functions have not ended" in ended.err
    assert shop.state(job_id) == "PENDING"


def test_a_coroutine_that_swallows_its_cancellation_does_not_keep_the_process(
    on_each_loop: Terminal,
) -> None:
    worker, job_id = start(on_each_loop, "stubborn", AIOQ_GRACE="0.1")
    worker.send(signal.SIGTERM)
    ended = worker.end()

    assert ended.code == 0
    assert f"Job {job_id} of tasks.stubborn swallows its cancellation (shutdown)" in ended.err
    assert "Leaving although 1 functions have not ended: ['" in ended.err
    assert " in stubborn']" in ended.err
    assert on_each_loop.state(job_id) == "PENDING"


def test_a_worker_that_waits_for_its_server_leaves(on_each_loop: Terminal) -> None:
    worker = on_each_loop.start(
        "worker", "tasks:app", "--url", "redis://localhost:1", AIOQ_STARTUP_TIMEOUT="none"
    )
    worker.says("  pid ")
    worker.send(signal.SIGTERM)
    ended = worker.end()

    assert ended.code == 0
    assert "SIGTERM: leaving before the start" in ended.err


def test_an_idle_worker_leaves_without_a_word_about_jobs(shop: Terminal) -> None:
    worker = shop.start_worker("tasks:app")
    worker.send(signal.SIGTERM)

    assert "SIGTERM: leaving, no job runs." in worker.end().err


def test_usr1_shows_where_everything_stands(on_each_loop: Terminal) -> None:
    on_each_loop.enqueue("tasks.in_a_thread", "that")
    worker, _ = start(on_each_loop, "held")
    wait_until((on_each_loop.folder / "that.started").exists)
    # Again where it finds the task between two awaits, for then there is no more to show.
    worker.send_until_it_says(signal.SIGUSR1, ", in held\n    await asyncio.sleep(0.01)")

    assert "asyncio tasks:" in worker.err
    assert " in in_a_thread\n" in worker.err
    assert "Current thread" in worker.err
