"""`aioq scheduler` and `aioq schedules`, as a user meets them."""

import signal

import pytest

from aioq.broker.keys import Keys
from tests.broker.place import Admin
from tests.cli.terminal import Running, Terminal, wait_until

TASKS = """
from pathlib import Path

from aioq import Aioq, crontab, every

app = Aioq()


@app.task(schedule=every(0.2))
async def tick() -> None:
    with Path("ticks").open("a") as file:
        file.write("tick\\n")


@app.task
async def report(kind: str) -> str:
    return kind


app.schedule("yearly", report.s("year"), crontab("30 7 1 2 *", tz="Europe/Paris"))
"""
NOWHERE = "redis://localhost:1"


@pytest.fixture
def shop(terminal: Terminal) -> Terminal:
    terminal.write("tasks.py", TASKS)
    return terminal


def start_scheduler(shop: Terminal, *arguments: str) -> Running:
    scheduler = shop.start("scheduler", "tasks:app", *arguments)
    scheduler.says("Ready: schedules are fired.")
    return scheduler


def schedules(shop: Terminal) -> dict[str, dict[str, object]]:
    listed = shop.run("schedules", "--name", "aioq", "--json").json
    return {each["name"]: each for each in listed["schedules"]}


def count(shop: Terminal) -> int:
    """Return how often the ticking schedule was fired, up to a hundred times."""
    admin = Admin(shop.environ["AIOQ_URL"])
    try:
        return admin("LLEN", Keys("aioq").prefix + "ch:tasks.tick")
    finally:
        admin.close()


def test_a_scheduler_makes_the_jobs_and_runs_none(shop: Terminal) -> None:
    scheduler = start_scheduler(shop)
    wait_until(lambda: count(shop) >= 2)
    assert not (shop.folder / "ticks").exists()
    done = shop.run("check")
    assert (done.code, done.out) == (1, "")
    assert "no live worker" in done.err

    worker = shop.start_worker("tasks:app", "--no-scheduler")
    wait_until((shop.folder / "ticks").exists)
    scheduler.send(signal.SIGTERM)
    ended = scheduler.end()
    assert (ended.code, ended.out) == (0, "")
    assert "SIGTERM: leaving, no job runs." in ended.err
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0
    before = count(shop)
    assert count(shop) == before, "nobody is left who fires"


def test_a_scheduler_says_what_it_is(shop: Terminal, url: str) -> None:
    scheduler = start_scheduler(shop)
    for line in (
        "aioq scheduler\n",
        "  app          tasks:app (named on the command line)\n",
        "  source       tasks:app\n",
        f"  server       {url} (from AIOQ_URL)\n",
        "  schedules    tasks.tick, yearly\n",
        f"  pid          {scheduler.pid}\n",
    ):
        assert line in scheduler.err


def test_a_worker_fires_schedules_unless_it_is_told_not_to(shop: Terminal) -> None:
    shop.start_worker("tasks:app", "--no-scheduler", "--processes", "2").kill()
    assert schedules(shop) == {}
    worker = shop.start_worker("tasks:app")
    wait_until((shop.folder / "ticks").exists)
    assert sorted(schedules(shop)) == ["tasks.tick", "yearly"]
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0


def test_when_a_scheduler_is_killed_another_goes_on(shop: Terminal) -> None:
    first, second = start_scheduler(shop), start_scheduler(shop)
    wait_until(lambda: count(shop) >= 2)
    first.send(signal.SIGKILL)
    first.end()
    before = count(shop)
    wait_until(lambda: count(shop) >= before + 3)
    second.send(signal.SIGINT)
    assert second.end().code == 0


def test_the_list_is_for_people(shop: Terminal) -> None:
    start_scheduler(shop)
    wait_until(lambda: count(shop) >= 1)
    done = shop.run("schedules", "list", "-A", "tasks:app")
    heading, tick, yearly = done.out.splitlines()
    assert heading.split() == ["NAME", "TASK", "SCHEDULE", "NEXT", "LAST", "SOURCE"]
    assert tick.startswith("tasks.tick  tasks.tick    every(0.2)")
    assert "fired 20" in tick and tick.endswith("tasks:app")
    assert "crontab('30 7 1 2 *')" in yearly and "-02-01 07:30:00 CET  " in yearly


def test_a_schedule_from_the_command_line(shop: Terminal) -> None:
    scheduler = start_scheduler(shop)
    run = shop.run
    assert run("schedules", "pause", "yearly", "tasks.tick").out == (
        "yearly is paused\ntasks.tick is paused\n"
    )
    assert " paused " in run("schedules", "list").out
    before = count(shop)
    job_id = run("schedules", "run-now", "yearly").out.strip()
    assert job_id.startswith("cron:yearly:now:")
    assert shop.state(job_id) == "PENDING"
    [line] = run("schedules", "history", "yearly").out.splitlines()[1:]
    assert "run now" in line and line.endswith(job_id)
    upcoming = run("schedules", "next", "yearly", "-n", "3").out.splitlines()
    assert [each[4:] for each in upcoming] == ["-02-01 07:30:00 CET"] * 3
    assert len(run("schedules", "next", "yearly", "--json").json["next"]) == 5
    assert run("schedules", "resume", "yearly").out == "yearly goes on\n"
    assert count(shop) == before
    assert run("schedules", "remove", "yearly", "--json").json == {
        "schema": 1,
        "name": "aioq",
        "schedules": ["yearly"],
    }
    assert list(schedules(shop)) == ["tasks.tick"]
    scheduler.send(signal.SIGTERM)
    scheduler.end()


@pytest.mark.parametrize("command", ["pause", "resume", "remove", "run-now", "next", "history"])
def test_a_schedule_that_nobody_knows_is_exit_code_1(shop: Terminal, command: str) -> None:
    shop.run("worker", "tasks:app", "--burst")
    done = shop.run("schedules", command, "yearli")
    assert (done.code, done.out) == (1, "")
    assert "no schedule 'yearli'; did you mean 'yearly'? (of 'aioq'; is it --name" in done.err


def test_where_there_are_none_that_is_said(terminal: Terminal) -> None:
    done = terminal.run("schedules", "list")
    assert (done.code, done.out) == (0, "")
    assert "'aioq' has no schedules; those in code come with the first worker" in done.err


def test_a_scheduler_ends_as_a_worker_does_where_it_cannot_start(shop: Terminal) -> None:
    assert shop.run("scheduler", "a b:app").code == 2
    assert shop.run("scheduler", "tasks:ap").code == 3
    done = shop.run("scheduler", "tasks:app", "--url", NOWHERE, AIOQ_STARTUP_TIMEOUT="0.1")
    assert done.code == 4
    shop.write("wrong.py", TASKS + "\napp.task(name='yearly', schedule=30)(lambda: None)\n")
    done = shop.run("scheduler", "wrong:app")
    assert done.code == 3
    assert "two schedules are named 'yearly': " in done.err
    assert "Traceback" not in done.err
    assert shop.run("worker", "wrong:app").code == 3
