"""`aioq server`: the embedded server in the foreground."""

import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Running, Terminal, processes_in, wait_until


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in a project; afterwards no server may be left."""
    sockets = tempfile.mkdtemp(prefix="aioq-server-", dir="/tmp")
    made = Terminal(tmp_path, XDG_RUNTIME_DIR=sockets, TMPDIR=sockets)
    made.write("pyproject.toml", "")
    yield made
    made.clean_up()
    wait_until(lambda: not processes_in(tmp_path), lambda: processes_in(tmp_path))
    shutil.rmtree(sockets)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def start(project: Terminal, *arguments: str) -> tuple[Running, str]:
    """Start a server; return its URL."""
    server = project.start("server", *arguments)
    return server, server.hear()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_url_and_leaves_cleanly(project: Terminal, number: signal.Signals) -> None:
    server, url = start(project)
    server.says(f"export AIOQ_URL={url}")
    assert project.enqueue("some.task", "--url", url)
    server.send(number)
    ended = server.end()

    assert (ended.code, ended.out) == (0, "")
    assert f"started the server, data in {project.folder}/.aioq; Ctrl-C stops it" in ended.err
    assert "Traceback" not in ended.err


def test_it_is_the_server_of_the_project(project: Terminal) -> None:
    server, url = start(project)
    done = project.run("enqueue", "some.task")

    assert done.code == 0
    assert f"aioq: server {url}: the DEVELOPMENT SERVER" in done.err
    server.send(signal.SIGTERM)


def test_a_second_one_joins_it(project: Terminal) -> None:
    _, url = start(project)
    second, same = start(project)
    second.says("joined the running server")

    assert same == url


def test_a_port_and_a_folder_of_its_own(project: Terminal, port: int) -> None:
    server, url = start(project, "--dir", "data", "--port", str(port))

    assert url == f"redis://127.0.0.1:{port}/0"
    assert project.enqueue("some.task", "--url", url)
    assert (project.folder / "data" / "appendonlydir").is_dir()
    server.says(f"data in {project.folder}/data")


def test_a_port_that_is_taken(project: Terminal, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = project.run("server", "--port", str(port))

    assert (done.code, done.out) == (1, "")
    assert f"cannot listen on port {port}" in done.err


def test_a_folder_that_cannot_be_used(project: Terminal) -> None:
    done = project.run("server", "--dir", "/proc/none")

    assert done.code == 1
    assert "cannot keep its data in /proc/none" in done.err


def test_a_port_out_of_range(project: Terminal) -> None:
    assert project.run("server", "--port", "70000").code == 2
