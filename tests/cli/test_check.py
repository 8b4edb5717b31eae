"""`aioq check`: is the server there, is anybody working, and on what."""

import json
import signal

import pytest

from aioq.cli import table
from tests.cli.conftest import Project
from tests.cli.terminal import Terminal, wait_until


def test_a_live_worker_is_shown(shop: Terminal) -> None:
    worker = shop.start_worker("tasks:app", "--queues", "default,mail", "--concurrency", "7")
    done = shop.run("check", "--queue", "mail", "--queue", "default")
    heading, row = done.out.splitlines()

    assert (done.code, done.err) == (0, "")
    assert heading.split() == ["WORKER", "HOST", "PID", "QUEUES", "RUNNING", "DONE", "UP", "PYTHON"]
    assert row.split()[2:5] == [str(worker.pid), "default,mail", "0/7"]


def test_as_json(shop: Terminal, url: str) -> None:
    worker = shop.start_worker("tasks:app")
    facts = shop.run("check", "--json").json

    assert (facts["schema"], facts["server"]) == (1, url)
    assert [each["pid"] for each in facts["workers"]] == [worker.pid]
    assert facts["workers"][0]["queues"] == ["default"]


def test_a_queue_that_nobody_serves(shop: Terminal) -> None:
    shop.start_worker("tasks:app")
    done = shop.run("check", "--queue", "default", "--queue", "mail")

    assert done.code == 1
    assert done.err == "Error: no live worker serves 'mail'\n"


def test_no_worker(project: Project, url: str) -> None:
    plain, as_json = (
        project.run("check", "--url", url),
        project.run("check", "--url", url, "--json"),
    )

    assert (plain.exit_code, plain.stdout) == (1, "")
    assert plain.stderr == f"Error: no live worker of 'aioq' at {url}\n"
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["workers"] == []


def test_a_worker_that_was_killed_does_not_count_once_its_lease_is_over(shop: Terminal) -> None:
    worker = shop.start_worker("tasks:app", AIOQ_LEASE="1")
    worker.send(signal.SIGKILL)

    # A presence is kept for ten leases.
    wait_until(lambda: shop.run("check").code == 1, seconds=4)


def test_workers_of_another_app_do_not_count(shop: Terminal) -> None:
    shop.start_worker("tasks:app")

    assert shop.run("check", "--name", "other").code == 1


@pytest.mark.parametrize("url", ["redis://localhost:1", "unix:///no/such/socket"])
def test_a_server_that_is_away(project: Project, url: str) -> None:
    done = project.run("check", "--url", url)

    assert done.exit_code == 4
    assert "cannot reach" in done.stderr


def test_the_app_is_not_imported(project: Project, url: str) -> None:
    project.write("tasks.py", "1 / 0\n")
    project.write("pyproject.toml", '[tool.aioq]\napp = "tasks:app"\n')

    assert project.run("check", "--url", url).exit_code == 1


def test_columns_are_aligned() -> None:
    rows = [("a", "1"), ("longer", "22")]

    assert table.aligned(("NAME", "N"), rows) == "NAME    N\na       1\nlonger  22"


def test_a_terminal_gets_the_same_rows_from_rich(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    table.echo(("NAME", "N"), [("a", "1")])
    rich = capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    table.echo(("NAME", "N"), [("a", "1")])
    plain = capsys.readouterr().out

    assert "\x1b[1mNAME\x1b[0m" in rich
    assert plain == "NAME  N\na     1\n"
