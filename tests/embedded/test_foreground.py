"""The shared server in the foreground, as the command `aioq server` runs it."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from aioq.core.errors import ConfigurationError
from aioq.embedded import ForegroundServer, SharedServer

from .processes import Program, alive, pid_at, redis_client, say, wait_until

Run = Callable[..., Program]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_ctrl_c_ends_it(run: Run, project: Path) -> None:
    foreground = run("foreground", project)
    facts = foreground.hear()
    pid = pid_at(facts["url"])
    foreground.send(signal.SIGINT)
    assert foreground.hear() == {"ended": "interrupted"}
    wait_until(lambda: not alive(pid))


def test_sigterm_ends_it(run: Run, project: Path) -> None:
    foreground = run("foreground", project)
    pid = pid_at(foreground.hear()["url"])
    foreground.die(signal.SIGTERM)
    wait_until(lambda: not alive(pid))


def test_processes_of_the_project_join_it(run: Run, project: Path) -> None:
    facts = run("foreground", project / ".aioq").hear()
    assert facts["started"]
    with SharedServer(project) as server:
        assert not server.started
        assert server.url == facts["url"]


def test_it_joins_a_server_that_runs_already(run: Run, project: Path) -> None:
    with SharedServer(project) as server:
        facts = run("foreground", project / ".aioq").hear()
        assert facts == {"started": False, "url": server.url}


def test_ctrl_c_leaves_the_server_to_the_others(run: Run, project: Path) -> None:
    foreground = run("foreground", project / ".aioq")
    pid = pid_at(foreground.hear()["url"])
    with SharedServer(project) as server:
        foreground.send(signal.SIGINT)
        foreground.die(None)
        assert pid_at(server.url) == pid


def test_the_end_of_the_server_is_an_error(run: Run, project: Path) -> None:
    foreground = run("foreground", project)
    os.kill(pid_at(foreground.hear()["url"]), signal.SIGTERM)
    assert "bye bye" in foreground.hear()["ended"]


def test_it_listens_on_a_port_for_as_long_as_it_is_open(project: Path, free_port: int) -> None:
    with SharedServer(project) as shared:
        with ForegroundServer(project / ".aioq", port=free_port) as server:
            assert server.url == f"redis://127.0.0.1:{free_port}/0"
            with redis_client(server.url) as client:
                assert client.info("server")["process_id"] == pid_at(shared.url)
        assert say(shared.url, "CONFIG GET port").endswith("\r\n0")


def test_a_port_that_is_taken_is_an_error_that_names_it(project: Path, free_port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(ConfigurationError, match=f"port {free_port}"),
    ):
        ForegroundServer(project, port=free_port).open()
