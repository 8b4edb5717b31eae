"""A folder of the user's, its app, and an empty server."""

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aioq.cli.main import cli
from aioq.embedded import PrivateServer
from tests.broker.place import Admin
from tests.cli.terminal import Terminal, wait_until

SHOP = """
import asyncio
import threading
from pathlib import Path

from aioq import Aioq

app = Aioq()


@app.task
async def add(x: int, y: int) -> int:
    return x + y


@app.task
async def fail(what: str) -> None:
    raise ValueError(what)


@app.task
async def echo(value):
    return value


@app.task
async def held(name: str) -> str:
    Path(f"{name}.started").touch()
    while not Path(f"{name}.go").exists():
        await asyncio.sleep(0.01)
    return "done"


@app.task
async def stubborn(name: str) -> None:
    Path(f"{name}.started").touch()
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            Path(f"{name}.cancelled").touch()


@app.task
async def blocking_the_loop(name: str) -> None:
    Path(f"{name}.started").touch()
    while True:
        pass


@app.task
def in_a_thread(name: str) -> None:
    Path(f"{name}.started").touch()
    threading.Event().wait()


@app.task
async def in_a_thread_of_its_own(name: str) -> None:
    await asyncio.to_thread(in_a_thread.function, name)
"""


@pytest.fixture
def url(server: PrivateServer) -> Iterator[str]:
    """An empty server; when the test is over, nobody may be connected to it."""
    admin = Admin(server.url)
    admin("FLUSHALL")
    yield server.url
    wait_until(lambda: not admin.others(), admin.others)
    admin.close()


@pytest.fixture
def terminal(url: str, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in a folder without files, for which the server is configured."""
    made = Terminal(tmp_path, AIOQ_URL=url)
    yield made
    made.clean_up()


@pytest.fixture
def shop(terminal: Terminal) -> Terminal:
    """The same with an app in tasks.py."""
    terminal.write("tasks.py", SHOP)
    return terminal


class Project:
    """The current folder of this process, and commands run inside this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        return path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, prog_name="aioq")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in [each for each in os.environ if each.startswith("AIOQ_")]:
        monkeypatch.delenv(name)
    # What the commands may use although nothing is configured must not be this machine's.
    monkeypatch.setenv("AIOQ_EMBEDDED", "never")
    path, known = sys.path[:], set(sys.modules)
    root, ours = logging.getLogger(), logging.getLogger("aioq")
    before = root.handlers[:], root.level, ours.level
    yield Project(tmp_path)
    root.handlers[:], root.level, ours.level = before
    sys.path[:] = path
    for name in set(sys.modules) - known:
        spec = sys.modules[name].__spec__
        if spec is not None and str(tmp_path) in f"{spec.origin}{spec.submodule_search_locations}":
            del sys.modules[name]
    importlib.invalidate_caches()
