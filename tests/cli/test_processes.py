"""Several workers under one supervisor: nobody is lost, and nobody is left behind."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aioq.embedded import PrivateServer
from tests.cli.conftest import SHOP
from tests.cli.terminal import Running, Terminal, alive, wait_until

APP = f"""
{SHOP}
import os

kept = []


def note(name):
    with Path(name).open("a") as file:
        file.write(f"{{os.getpid()}}\\n")


@app.task
async def where(name: str) -> None:
    note(f"{{name}}.pids")
    while not Path(f"{{name}}.go").exists():
        await asyncio.sleep(0.01)


@app.task
async def once(number: int) -> None:
    note(f"once.{{number}}")
    await asyncio.sleep(0.02)


@app.task
async def many(first: int, count: int) -> None:
    await once.enqueue_many([(number,) for number in range(first, first + count)])


@app.task
async def greedy() -> None:
    kept.append(b"x" * 300_000_000)
"""
LEASE = {"AIOQ_LEASE": "600"}
"""So long that nothing in these tests can be due to its end."""


@pytest.fixture
def several(shop: Terminal) -> Iterator[Terminal]:
    """The shop; when the test is over, no process of it may be left."""
    shop.write("tasks.py", APP)
    yield shop
    shop.kill()
    try:
        wait_until(lambda: not processes_at(shop.folder), lambda: processes_at(shop.folder))
    finally:
        for pid in processes_at(shop.folder):
            os.kill(pid, signal.SIGKILL)


def processes_at(folder: Path) -> list[int]:
    """Return the processes whose current folder this is."""
    found: list[int] = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == folder:
                found.append(int(link.parent.name))
        except OSError:  # it has ended
            continue
    return found


def start(terminal: Terminal, *arguments: str, count: int = 2, **environ: str) -> Running:
    """Start a supervisor, and return when all its workers take jobs."""
    started = terminal.start("worker", "tasks:app", *arguments, **{**LEASE, **environ})
    started.says(" takes jobs.", times=count)
    return started


def start_brisk(terminal: Terminal) -> Running:
    """Start a supervisor and workers that have little patience with each other."""
    terminal.write("sitecustomize.py", "import aioq.worker.tie\naioq.worker.tie.MARGIN = 1.0\n")
    path = os.pathsep.join([str(terminal.folder), os.environ.get("PYTHONPATH", "")])
    return start(terminal, "--processes", "2", AIOQ_GRACE="0.1", PYTHONPATH=path)


def workers(running: Running) -> list[int]:
    """Return the process ids of all workers that have ever taken jobs."""
    return list(map(int, re.findall(r"Ready: worker \S+-(\d+)-\w{4} takes jobs", running.err)))


def pids(terminal: Terminal, name: str) -> list[int]:
    """Return the processes in which a task has noted its start."""
    path = terminal.folder / name
    return list(map(int, path.read_text().split())) if path.exists() else []


def hold(terminal: Terminal, task: str = "where", name: str = "this") -> tuple[str, int]:
    """Have a job held; return its id and its worker."""
    job_id = terminal.enqueue(f"tasks.{task}", name)
    wait_until(lambda: pids(terminal, f"{name}.pids"))
    return job_id, pids(terminal, f"{name}.pids")[0]


def test_the_first_worker_introduces_all(several: Terminal) -> None:
    running = start(several, "--processes", "3", count=3)

    assert len(set(workers(running))) == 3
    assert running.err.count("aioq worker\n") == 1
    assert "  processes    3\n" in running.err
    assert f"  supervisor   {running.pid}\n" in running.err
    for pid in workers(running):
        assert f"[{pid}] aioq.worker  Ready: worker " in running.err
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_weights_of_queues_reach_every_worker(several: Terminal) -> None:
    running = start(several, "--processes", "2", "--queues", "mail:3,default:1", count=2)

    assert "  queues       mail:3, default:1\n" in running.err
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_a_worker_that_is_killed_is_replaced_and_its_job_runs_again_at_once(
    several: Terminal,
) -> None:
    running = start(several, "--processes", "2")
    job_id, first = hold(several)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(pids(several, "this.pids")) == 2, lambda: running.err)
    running.says(" takes jobs.", times=3)

    assert f"(pid {first}) was killed by SIGKILL; another one takes its place" in running.err
    assert "Took over 1 jobs of" in running.err
    assert pids(several, "this.pids")[1] != first
    (several.folder / "this.go").touch()
    assert several.run("result", job_id, "--wait").out.startswith("SUCCESS")
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_a_worker_that_is_alone_is_replaced_too(several: Terminal) -> None:
    running = start(several, "--max-lifetime", "3600", count=1)
    _, first = hold(several)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(pids(several, "this.pids")) == 2, lambda: running.err)

    assert "  replaced     after 3600 s\n" in running.err
    (several.folder / "this.go").touch()
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_the_first_signal_drains_all(several: Terminal) -> None:
    running = start(several, "--processes", "2")
    job_id, _ = hold(several)
    running.send(signal.SIGTERM)
    running.says("The supervisor leaves: waiting for 1 running jobs")
    (several.folder / "this.go").touch()

    assert running.end().code == 0
    assert "SIGTERM: waiting for 2 workers, at most 25 s; a second signal gives" in running.err
    assert several.state(job_id) == "SUCCESS"


def test_the_second_signal_gives_back_and_the_third_leaves_at_once(several: Terminal) -> None:
    running = start(several, "--processes", "2")
    job_id, _ = hold(several)
    stubborn = several.enqueue("tasks.stubborn", "that")
    wait_until((several.folder / "that.started").exists)
    running.send(signal.SIGTERM)
    running.says("SIGTERM: waiting for 2 workers")
    running.send(signal.SIGTERM)
    wait_until((several.folder / "that.cancelled").exists)
    running.send(signal.SIGTERM)

    assert running.end().code == 143
    assert "A third signal (SIGTERM): leaving at once." in running.err
    # Killed workers were reaped as well, so nobody waits for their leases.
    assert [several.state(each) for each in (job_id, stubborn)] == ["PENDING", "PENDING"]


def test_ctrl_c_reaches_everybody_and_counts_once(several: Terminal) -> None:
    running = start(several, "--processes", "2")
    job_id, _ = hold(several)
    running.interrupt()
    running.says("waiting for 1 running jobs")
    assert "giving 1 running jobs back" not in running.err
    running.interrupt()

    assert running.end().code == 0
    assert "giving 1 running jobs back" in running.err
    assert several.state(job_id) == "PENDING"


def test_ctrl_c_before_a_worker_has_handlers_is_a_clean_end(several: Terminal) -> None:
    running = several.start("worker", "tasks:app", "--processes", "2")
    wait_until(lambda: len(processes_at(several.folder)) == 2)
    running.interrupt()

    assert running.end().code == 0
    assert "SIGINT: waiting for 1 workers" in running.err


def test_ctrl_c_during_the_start_is_a_clean_end(several: Terminal) -> None:
    several.write("tasks.py", f"import time\nopen('loading', 'w')\ntime.sleep(0.5)\n{APP}")
    running = several.start("worker", "tasks:app", "--processes", "2")
    wait_until((several.folder / "loading").exists)
    running.interrupt()

    assert running.end().code == 0
    assert "Aborted" not in running.err


def test_a_worker_that_is_drained_by_hand_is_replaced(several: Terminal) -> None:
    running = start(several, "--processes", "2")
    first, _ = workers(running)
    os.kill(first, signal.SIGTERM)
    running.says(" takes jobs.", times=3)

    assert f"(pid {first}) has ended with exit code 0; another one takes its place" in running.err
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_a_worker_that_is_asked_to_leave_during_its_start_is_replaced(several: Terminal) -> None:
    several.write("tasks.py", f"import time\nopen('loading', 'w')\ntime.sleep(0.5)\n{APP}")
    running = several.start("worker", "tasks:app", "--processes", "2")
    wait_until((several.folder / "loading").exists)
    first = next(pid for pid in processes_at(several.folder) if pid != running.pid)
    os.kill(first, signal.SIGTERM)
    running.says(" takes jobs.", times=2)

    assert f"The worker that was starting (pid {first}) has ended with exit code 0" in running.err
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_usr1_shows_the_stacks_of_all(several: Terminal) -> None:
    running = start(several, "--processes", "2")
    running.send(signal.SIGUSR1)
    running.says(" asyncio tasks:", times=2)

    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_when_the_supervisor_is_killed_the_workers_drain(several: Terminal) -> None:
    running = start(several, "--processes", "2")
    job_id, _ = hold(several)
    running.send(signal.SIGKILL)
    running.says("The supervisor has gone: waiting for 1 running jobs")
    running.says("The supervisor has gone: leaving, no job runs.")
    (several.folder / "this.go").touch()

    wait_until(lambda: not any(map(alive, workers(running))))
    assert several.state(job_id) == "SUCCESS"


def test_when_the_supervisor_is_killed_the_grace_holds(several: Terminal) -> None:
    running = start(several, "--processes", "2", AIOQ_GRACE="0.1")
    job_id, _ = hold(several)
    running.send(signal.SIGKILL)

    wait_until(lambda: not any(map(alive, workers(running))))
    assert several.state(job_id) == "PENDING"


def test_when_the_supervisor_is_killed_a_blocked_worker_goes_too(several: Terminal) -> None:
    running = start_brisk(several)
    several.enqueue("tasks.blocking_the_loop", "this")
    wait_until((several.folder / "this.started").exists)
    running.send(signal.SIGKILL)

    wait_until(lambda: not any(map(alive, workers(running))), lambda: running.err)
    assert "this worker cannot drain, leaving" in running.err


def test_a_worker_that_does_not_leave_is_killed_and_its_job_is_given_back(
    several: Terminal,
) -> None:
    running = start_brisk(several)
    job_id = several.enqueue("tasks.blocking_the_loop", "this")
    wait_until((several.folder / "this.started").exists)
    running.send(signal.SIGTERM)

    assert running.end().code == 1
    assert running.err.count("does not leave: killing it") == 1
    assert several.state(job_id) == "PENDING"


def test_a_worker_that_dies_while_it_is_to_leave_is_said_in_the_exit_code(
    several: Terminal,
) -> None:
    running = start(several, "--processes", "2")
    _, busy = hold(several)
    running.send(signal.SIGTERM)
    running.says("waiting for 1 running jobs")
    os.kill(busy, signal.SIGKILL)

    assert running.end().code == 1
    assert f"(pid {busy}) was killed by SIGKILL when it was to leave." in running.err


def test_after_max_jobs_a_worker_is_replaced_and_no_job_runs_twice(several: Terminal) -> None:
    running = start(several, "--processes", "2", "--max-jobs", "10", "--concurrency", "2")
    runs: list[str] = []

    def are_replaced_at_work() -> bool:
        several.enqueue("tasks.many", str(len(runs)), "40")
        runs.extend(f"once.{number}" for number in range(len(runs), len(runs) + 40))
        return running.err.count(" jobs (max_jobs=10); Worker ") >= 3

    wait_until(are_replaced_at_work, lambda: running.err)
    wait_until(lambda: all(pids(several, each) for each in runs), lambda: running.err)

    assert len({pids(several, each)[0] for each in runs}) >= 3
    running.send(signal.SIGTERM)
    assert running.end().code == 0
    assert several.run("worker", "tasks:app", "--burst").code == 0
    assert {len(pids(several, each)) for each in runs} == {1}, "each was settled by its worker"


def test_a_worker_that_is_replaced_ends_its_job_however_long_it_takes(several: Terminal) -> None:
    running = start(several, "--processes=2", "--max-lifetime=1", AIOQ_GRACE="0.1")
    job_id, first = hold(several)
    running.says(" takes its place.", times=3)  # so that the grace is over for long
    assert f"(pid {first}) has lived for its time (max_lifetime=1); Worker " in running.err
    assert alive(first)
    (several.folder / "this.go").touch()

    wait_until(lambda: not alive(first))
    assert several.state(job_id) == "SUCCESS"
    assert pids(several, "this.pids") == [first]
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_a_worker_that_is_replaced_has_the_grace_when_all_leave(several: Terminal) -> None:
    running = start(several, "--max-lifetime", "1", count=1, AIOQ_GRACE="0.1")
    job_id, _ = hold(several)
    running.says("1 jobs may end in peace.")
    running.send(signal.SIGTERM)

    assert running.end().code == 0
    assert several.state(job_id) == "PENDING"


def test_beyond_max_memory_a_worker_is_replaced(several: Terminal) -> None:
    running = start(several, "--processes", "2", "--max-memory", "250")
    several.enqueue("tasks.greedy")
    running.says("MB of memory (max_memory=250); Worker ")
    running.says(" takes jobs.", times=3)

    wait_until(lambda: sum(map(alive, workers(running))) == 2)
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_a_memory_limit_that_no_worker_can_keep(several: Terminal) -> None:
    done = several.run("worker", "tasks:app", "--processes", "2", "--max-memory", "1")

    assert done.code == 3
    assert done.err.count("max_memory=1 is too low: a worker takes ") == 1


def test_code_that_breaks_while_workers_run_does_not_replace_them(several: Terminal) -> None:
    running = start(several, "--max-lifetime", "1", count=1)
    several.write("tasks.py", "1 / 0\n")
    running.says("has ended with exit code 3; Worker ")
    running.says(" goes on, and has lived for its time")
    hold(several)
    assert pids(several, "this.pids") == workers(running)
    (several.folder / "this.go").touch()
    several.write("tasks.py", APP)
    running.says(" takes its place.")

    wait_until(lambda: sum(map(alive, workers(running))) == 1)
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_an_app_that_cannot_be_imported_ends_it_at_once(several: Terminal) -> None:
    several.write("tasks.py", "1 / 0\n")
    done = several.run("worker", "tasks:app", "--processes", "3")

    assert done.code == 3
    assert done.err.count("ZeroDivisionError") == 1


def test_a_server_that_is_away_at_the_start_ends_it(several: Terminal) -> None:
    done = several.run(
        "worker",
        "tasks:app",
        "--processes=3",
        "--url=redis://localhost:1",
        AIOQ_STARTUP_TIMEOUT="0.1",
    )

    assert done.code == 4
    assert done.err.count("cannot reach redis://localhost:1/0") == 1


def test_a_later_first_worker_that_cannot_start_stops_the_others(several: Terminal) -> None:
    lifespan = """
async def lifespan(app):
    if Path("first").exists():
        while not Path("this.pids").exists():
            await asyncio.sleep(0.01)
        raise OSError("too many")
    Path("first").touch()
    yield
"""
    several.write(
        "tasks.py", APP.replace("app = Aioq()", f"{lifespan}\napp = Aioq(lifespan=lifespan)")
    )
    running = several.start("worker", "tasks:app", "--processes", "2", **LEASE)
    running.says(" takes jobs.")
    job_id, _ = hold(several)

    assert running.end().code == 3
    assert "has ended with exit code 3 before it took jobs: leaving." in running.err
    assert several.state(job_id) == "PENDING"


def test_workers_that_die_again_and_again_are_replaced_less_and_less_often(
    several: Terminal,
) -> None:
    lifespan = """
import os

async def lifespan(app):
    asyncio.get_running_loop().call_later(0.1, os._exit, 9)
    yield
"""
    several.write(
        "tasks.py", APP.replace("app = Aioq()", f"{lifespan}\napp = Aioq(lifespan=lifespan)")
    )
    running = several.start("worker", "tasks:app", "--processes", "2")
    running.says("has ended with exit code 9; another one takes its place in ", times=3)

    running.send(signal.SIGTERM)
    assert running.end().code in {0, 1}  # 1: one of them has died just now


def test_burst_ends_when_nothing_is_left_to_do(several: Terminal) -> None:
    ids = [several.enqueue("tasks.once", str(number)) for number in range(4)]
    done = several.run("worker", "tasks:app", "--burst", "--processes", "2")

    assert done.code == 0
    assert {several.state(each) for each in ids} == {"SUCCESS"}
    assert "takes its place" not in done.err


def test_a_worker_that_dies_while_the_server_is_away_is_reaped_when_it_is_back(
    tmp_path: Path, new_server: Callable[..., PrivateServer]
) -> None:
    server = new_server(appendonly=True)
    terminal = Terminal(tmp_path, AIOQ_URL=server.url)
    terminal.write("tasks.py", APP)
    try:
        running = start(terminal, "--processes", "2")
        _, first = hold(terminal)
        server.kill()
        os.kill(first, signal.SIGKILL)
        running.says("wait until the server is back")
        server.restart()
        wait_until(lambda: len(pids(terminal, "this.pids")) == 2, lambda: running.err)

        running.send(signal.SIGTERM)
        (tmp_path / "this.go").touch()
        assert running.end().code == 0
    finally:
        terminal.clean_up()


@pytest.mark.parametrize("source", ["environment", "pyproject", "app"])
def test_the_number_of_processes_is_a_setting(several: Terminal, source: str) -> None:
    environ = {"AIOQ_PROCESSES": "2"} if source == "environment" else {}
    if source == "pyproject":
        several.write("pyproject.toml", "[tool.aioq]\nprocesses = 2\n")
    elif source == "app":
        text = APP.replace("Aioq()", "Aioq(settings=Settings(processes=2))", 1)
        several.write("tasks.py", f"from aioq import Settings\n{text}")
    running = several.start("worker", **environ)
    running.says(" takes jobs.", times=2)

    assert len(set(workers(running))) == 2
    assert running.pid not in workers(running)
    assert running.err.count("found the app tasks:app in tasks.py") == 1
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_one_process_has_no_supervisor(several: Terminal) -> None:
    running = start(several, "--processes", "1", count=1)

    assert workers(running) == [running.pid]
    running.send(signal.SIGTERM)
    assert running.end().code == 0


def test_a_session_of_dev_has_one_worker(several: Terminal) -> None:
    session = several.start("dev", "tasks:app", AIOQ_PROCESSES="2")
    session.says(" takes jobs.")
    session.interrupt()

    assert session.end().code == 0
    assert len(workers(session)) == 1


def test_json_lines_name_the_process(several: Terminal) -> None:
    running = start(several, "--processes", "2", "--log-format", "json")
    _, first = hold(several)
    os.kill(first, signal.SIGKILL)
    running.says("was killed by SIGKILL")
    (several.folder / "this.go").touch()
    running.says(" takes jobs.", times=3)
    running.send(signal.SIGTERM)
    lines = [json.loads(line) for line in running.end().err.splitlines()]

    assert {line["pid"] for line in lines} == {running.pid, *workers(running)}
    assert lines[0]["processes"] == "2"
