"""`aioq dev`: a worker that follows the code, and nothing left behind."""

import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from aioq.cli import dev
from aioq.embedded import SharedServer
from tests.cli.conftest import Project
from tests.cli.terminal import Running, Terminal, alive, processes_in, wait_until

APP = """
from aioq import Aioq

app = Aioq()


@app.task
async def version() -> int:
    return {}
"""


@pytest.fixture
def developer(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in a project for which no server is configured; afterwards nothing is left."""
    # A socket's path is short on every system, and pytest's folders are long.
    sockets = tempfile.mkdtemp(prefix="aioq-dev-", dir="/tmp")
    made = Terminal(tmp_path, XDG_RUNTIME_DIR=sockets, TMPDIR=sockets)
    made.write("pyproject.toml", "")
    made.write("tasks.py", APP.format(1))
    yield made
    made.clean_up()
    wait_until(lambda: not processes_in(tmp_path), lambda: processes_in(tmp_path))
    shutil.rmtree(sockets)


def call(terminal: Terminal, **environ: str) -> str:
    return terminal.run("call", "tasks.version", "--timeout", "10s", **environ).out.strip()


def worker_of(session: Running, count: int = 1) -> int:
    """Return the process id of the worker that started as number `count`."""
    session.says(" takes jobs.", times=count)
    return int(re.findall(r"Ready: worker \S+-(\d+)-\w{4} takes jobs", session.err)[count - 1])


def test_the_worker_follows_the_code_on_the_embedded_server(developer: Terminal) -> None:
    session = developer.start("dev", "tasks:app")
    first = worker_of(session)
    assert call(developer) == "1"

    developer.write("tasks.py", APP.format("2 + 2"))
    second = worker_of(session, 2)
    assert call(developer) == "4"
    assert not alive(first)
    assert "tasks.py has changed, starting the worker anew" in session.err
    assert session.err.count("aioq worker\n") == 1, "one banner is enough"

    session.interrupt()
    assert session.end().code == 0
    assert not alive(second)


def test_a_mistake_in_the_code_is_shown_and_waited_for(developer: Terminal) -> None:
    developer.write("tasks.py", "app = (\n")
    session = developer.start("dev", "tasks:app")
    session.says("SyntaxError: '(' was never closed")
    session.says("the worker has ended (exit code 3); waiting for a change")

    developer.write("tasks.py", APP.format("40 + 2"))
    worker_of(session)
    assert call(developer) == "42"

    developer.write("tasks.py", "1 / 0\n")
    session.says("ZeroDivisionError: division by zero")
    session.says("waiting for a change", times=2)
    session.interrupt()
    assert session.end().code == 0


def test_the_server_stays_up_while_no_worker_runs(developer: Terminal) -> None:
    session = developer.start("dev", "tasks:app")
    worker_of(session)
    developer.write("tasks.py", "1 / 0\n")
    session.says("waiting for a change")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
            patch.setenv(name, developer.environ[name])
        with SharedServer(developer.folder) as server:
            assert not server.started
    session.send(signal.SIGTERM)
    assert session.end().code == 0


def test_a_change_lets_the_running_job_end(shop: Terminal) -> None:
    session = shop.start("dev", "tasks:app")
    worker_of(session)
    job_id = shop.enqueue("tasks.held", "this")
    wait_until((shop.folder / "this.started").exists)
    shop.write("other.py", "x = 1\n")
    session.says("SIGTERM: waiting for 1 running jobs")
    (shop.folder / "this.go").touch()

    worker_of(session, 2)
    assert shop.state(job_id) == "SUCCESS"
    session.interrupt()
    assert session.end().code == 0


def test_a_configured_url_is_used(shop: Terminal) -> None:
    session = shop.start("dev", "tasks:app")
    worker_of(session)

    assert shop.run("check").code == 0
    assert not (shop.folder / ".aioq").exists()
    session.interrupt()
    assert session.end().code == 0


def test_flags_reach_the_worker(shop: Terminal) -> None:
    session = shop.start("dev", "-A", "tasks:app", "--queues=default,mail", "--concurrency=3")
    worker_of(session)

    assert "  queues       default, mail\n" in session.err
    assert "  concurrency  3\n" in session.err
    session.interrupt()
    assert session.end().code == 0


def test_ctrl_c_once_lets_jobs_end_and_twice_gives_them_back(shop: Terminal) -> None:
    session = shop.start("dev", "tasks:app")
    worker_of(session)
    job_id = shop.enqueue("tasks.held", "this")
    wait_until((shop.folder / "this.started").exists)
    session.interrupt()
    session.says("waiting for 1 running jobs")
    assert "giving 1 running jobs back" not in session.err
    session.interrupt()
    ended = session.end()

    assert ended.code == 0
    assert "giving 1 running jobs back" in ended.err
    assert shop.state(job_id) == "PENDING"


def test_signals_for_the_session_alone_count_as_well(shop: Terminal) -> None:
    session = shop.start("dev", "tasks:app")
    worker = worker_of(session)
    shop.enqueue("tasks.stubborn", "this")
    wait_until((shop.folder / "this.started").exists)
    session.send(signal.SIGTERM)
    session.says("The supervisor leaves: waiting for 1 running jobs")
    session.send(signal.SIGTERM)
    wait_until((shop.folder / "this.cancelled").exists)
    session.send(signal.SIGTERM)

    assert session.end().code == 143
    assert not alive(worker)


def test_a_session_that_is_killed_leaves_nothing(developer: Terminal) -> None:
    session = developer.start("dev", "tasks:app")
    worker = worker_of(session)
    session.send(signal.SIGKILL)
    session.says("The supervisor has gone")

    wait_until(lambda: not alive(worker))


def test_without_watchfiles_it_says_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str) -> object:
        return None if name == "watchfiles" else find_spec(name)

    monkeypatch.setattr(dev, "find_spec", without)
    done = project.run("dev", "tasks:app")

    assert done.exit_code == 1
    assert done.stderr == (
        'Error: aioq dev needs the package watchfiles: pip install "aioq-tasks[dev]"\n'
    )
