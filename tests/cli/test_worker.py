"""`aioq worker` as a process: how it starts, what it says, and how it ends on its own."""

import json
import signal

import pytest

from tests.cli.conftest import SHOP
from tests.cli.terminal import Terminal, wait_until

NOWHERE = "redis://localhost:1"


def test_a_job_from_the_command_line_to_its_result(shop: Terminal) -> None:
    worker = shop.start_worker("tasks:app")
    job_id = shop.enqueue("tasks.add", "1", "2")

    assert shop.run("result", job_id, "--wait").out == "SUCCESS\n3\n"
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0


def test_the_banner_says_what_runs(shop: Terminal, url: str) -> None:
    worker = shop.start_worker(
        "-A", "tasks:app", "--queues", "default,mail", "--concurrency", "7", AIOQ_LEASE="9"
    )
    banner = worker.err.partition("Ready")[0]

    for line in (
        "  app          tasks:app (by -A)\n",
        f"  server       {url} (from AIOQ_URL)\n",
        "  tasks        tasks.add, tasks.blocking_the_loop, ",
        "  queues       default, mail\n",
        "  concurrency  7\n",
        "  lease        9 s\n",
        "  grace        25 s\n",
        f"  pid          {worker.pid}\n",
    ):
        assert line in banner


def test_a_password_is_never_shown(shop: Terminal, url: str) -> None:
    secret = url.replace("unix://", "unix://joe:secret@")
    done = shop.run("worker", "tasks:app", "--url", secret, AIOQ_STARTUP_TIMEOUT="0.1")

    assert done.code == 4
    assert "unix://joe:***@" in done.err
    assert "(given by --url)" in done.err
    assert "secret" not in done.err


def test_the_flag_wins_over_the_app_the_environment_and_pyproject(shop: Terminal) -> None:
    shop.write("tasks.py", SHOP.replace("Aioq()", "Aioq(settings=Settings(concurrency=2))", 1))
    shop.write("tasks.py", f"from aioq import Settings\n{(shop.folder / 'tasks.py').read_text()}")
    shop.write("pyproject.toml", "[tool.aioq]\nconcurrency = 4\nlease = 8\n")

    def concurrency(*flags: str) -> str:
        worker = shop.start_worker("tasks:app", "--burst", *flags, AIOQ_CONCURRENCY="3")
        return worker.end().err.partition("concurrency  ")[2].partition("\n")[0]

    assert concurrency("--concurrency=1") == "1"
    assert concurrency() == "2"


def test_an_app_that_is_found_by_itself_is_said(shop: Terminal) -> None:
    done = shop.run("worker", "--burst")

    assert done.code == 0
    assert 'write into pyproject.toml:\n    [tool.aioq]\n    app = "tasks:app"' in done.err
    assert "tasks:app (discovered in tasks.py)" in done.err


def test_burst_runs_what_is_ready_and_leaves(shop: Terminal) -> None:
    ready = [shop.enqueue("tasks.add", "1", "2"), shop.enqueue("tasks.add", "3", "4")]
    later = shop.enqueue("tasks.add", "5", "6", "--countdown", "1h")
    done = shop.run("worker", "tasks:app", "--burst")

    assert (done.code, done.out) == (0, "")
    assert [shop.state(each) for each in ready] == ["SUCCESS", "SUCCESS"]
    assert shop.state(later) == "PENDING"


def test_an_app_without_tasks_is_a_warning(shop: Terminal) -> None:
    shop.write("empty.py", "from aioq import Aioq\napp = Aioq()\n")
    done = shop.run("worker", "empty:app", "--burst", "--processes", "1")

    assert done.code == 0
    assert "WARNING aioq.worker  The app 'aioq' has no tasks; its jobs will wait." in done.err
    assert "  tasks        none\n" in done.err


def test_log_lines_as_json(shop: Terminal) -> None:
    job_id = shop.enqueue("tasks.fail", "boom")
    done = shop.run("worker", "tasks:app", "--burst", "--log-format", "json")
    lines = [json.loads(line) for line in done.err.splitlines()]

    assert done.code == 0
    assert lines[0]["message"] == "The worker starts."
    assert lines[0]["app"] == "tasks:app (named on the command line)"
    assert lines[1]["message"].startswith("The server is ")
    assert lines[2]["message"].startswith("Ready")
    failed = next(each for each in lines if each["level"] == "error")
    assert failed["message"] == f"Job {job_id} of tasks.fail failed."
    assert failed["exception"].endswith("ValueError: boom")


def test_the_log_level_is_that_of_the_users_loggers_too(shop: Terminal) -> None:
    task = "@app.task\nasync def speak() -> None:\n    getLogger('shop').debug('hear me')\n"
    shop.write("noisy.py", f"from logging import getLogger\n{SHOP}\n{task}")
    shop.enqueue("noisy.speak")
    quiet = shop.run("worker", "noisy:app", "--burst")
    shop.enqueue("noisy.speak")
    loud = shop.run("worker", "noisy:app", "--burst", AIOQ_LOG_LEVEL="debug")

    assert "hear me" not in quiet.err
    assert "DEBUG   shop  hear me" in loud.err


def test_logging_that_the_app_configures_stays(shop: Terminal) -> None:
    shop.write("own.py", f"import logging\nlogging.basicConfig(format='MINE %(message)s')\n{SHOP}")
    shop.enqueue("own.fail", "boom")
    own = shop.run("worker", "own:app", "--burst")
    shop.enqueue("own.fail", "boom")
    flag = shop.run("worker", "own:app", "--burst", "--log-format", "console")

    assert "MINE Job" in own.err
    assert "MINE" not in flag.err


def test_a_server_that_is_away_is_tried_for_startup_timeout(shop: Terminal) -> None:
    done = shop.run("worker", "tasks:app", "--url", NOWHERE, AIOQ_STARTUP_TIMEOUT="0.2")

    assert done.code == 4
    assert "cannot reach redis://localhost:1/0" in done.err
    assert "(tried for 0.2 s)" in done.err
    assert "Traceback" not in done.err


def test_a_server_that_refuses_is_not_tried_again(shop: Terminal, url: str) -> None:
    wrong = url.replace("unix://", "unix://joe:secret@")
    done = shop.run("worker", "tasks:app", "--url", wrong, AIOQ_STARTUP_TIMEOUT="0.5")

    assert done.code == 4
    assert "refused: invalid username-password pair" in done.err
    assert "tried for" not in done.err


def test_an_embedded_server_that_cannot_start(shop: Terminal) -> None:
    done = shop.run("worker", "tasks:app", "--url", "embedded://", AIOQ_SERVER_BIN="/no/such")

    assert done.code == 4
    assert "AIOQ_SERVER_BIN is set to '/no/such'" in done.err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "async def lifespan(app):\n    raise OSError('no database')\n    yield\n"
            "app = Aioq(lifespan=lifespan)\n",
            "File \"tasks.py\", line 3\n    raise OSError('no database')\n  OSError: no database",
        ),
        ("app = Aioq(lifespan=lambda app: 1)\n", "must be an async generator function"),
        (
            "app = Aioq()\nclass Mystery: ...\n@app.task\nasync def f(x: Mystery) -> None: ...\n",
            "parameter 'x' of task tasks.f",
        ),
    ],
)
def test_an_app_that_cannot_be_started(shop: Terminal, source: str, message: str) -> None:
    shop.write("tasks.py", f"from aioq import Aioq\n{source}")
    done = shop.run("worker", "tasks:app")

    assert done.code == 3
    assert message in done.err
    assert "Traceback" not in done.err


def test_the_app_is_loaded_before_the_server_is_asked(shop: Terminal) -> None:
    shop.write("tasks.py", "1 / 0\n")

    assert shop.run("worker", "tasks:app", "--url", NOWHERE).code == 3


def test_without_uvloop_asyncio_runs_it(shop: Terminal) -> None:
    shop.write("uvloop.py", "raise ImportError\n")
    shop.enqueue("tasks.add", "1", "2")
    done = shop.run("worker", "tasks:app", "--burst")

    assert done.code == 0
    assert "  loop         asyncio\n" in done.err


def test_an_error_that_ends_a_running_worker(shop: Terminal) -> None:
    lifespan = "async def lifespan(app):\n    yield\n    raise OSError('too late')\n"
    shop.write("tasks.py", f"from aioq import Aioq\n{lifespan}app = Aioq(lifespan=lifespan)\n")
    done = shop.run("worker", "tasks:app", "--burst")

    assert done.code == 1
    assert "CRITICAL aioq.worker  The worker ends because of an error." in done.err
    assert "Error: the worker ended because of OSError('too late')" in done.err


def test_a_job_that_was_held_when_its_worker_left_runs_on_the_next(shop: Terminal) -> None:
    job_id = shop.enqueue("tasks.held", "this")
    worker = shop.start_worker("tasks:app")
    wait_until((shop.folder / "this.started").exists)
    worker.send(signal.SIGTERM)
    worker.says("a second signal gives them back")
    worker.send(signal.SIGTERM)
    assert worker.end().code == 0

    (shop.folder / "this.go").touch()
    assert shop.run("worker", "tasks:app", "--burst").code == 0
    assert shop.state(job_id) == "SUCCESS"
