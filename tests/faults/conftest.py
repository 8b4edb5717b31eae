"""Real worker processes in a folder of the user's, on an empty server."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from aioq import Aioq
from aioq.embedded import PrivateServer
from tests.broker.place import Admin
from tests.cli.terminal import Terminal

TASKS = '''
import asyncio
import os
import signal
import time
from pathlib import Path

from aioq import CONTEXT, Aioq, Context

app = Aioq()


def begin(name):
    """Note which process has begun a run, and that it was not the same one twice."""
    with Path(f"{name}.runs").open("a") as runs:
        runs.write(f"{os.getpid()}\\n")


async def gone_on(name):
    while not Path(f"{name}.go").exists():
        await asyncio.sleep(0.01)


@app.task
async def deadly(name: str) -> None:
    begin(name)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
async def held(name: str) -> str:
    begin(name)
    await gone_on(name)
    return "done"


@app.task
async def patient(name: str) -> str:
    """Take a moment, so that a neighbour's death hits it."""
    begin(name)
    await asyncio.sleep(0.3)
    return "done"


@app.task
async def failing_when_let_go(name: str) -> str:
    """Succeed in every process but the first."""
    begin(name)
    if len(Path(f"{name}.runs").read_text().split()) > 1:
        return "done"
    await gone_on(name)
    raise ValueError("too late")


@app.task(max_retries=1, default_retry_delay=0)
async def failing_once(name: str, ctx: Context = CONTEXT) -> str:
    begin(name)
    await gone_on(name)
    if ctx.request.retries == 0:
        ctx.retry(ValueError("once"))
    return "done"


@app.task
async def blocking_the_loop(name: str, seconds: float) -> str:
    begin(name)
    if len(Path(f"{name}.runs").read_text().split()) == 1:
        time.sleep(seconds)
    return "done"
'''


class Shop:
    """A terminal in a folder with tasks, and a client for the same server."""

    def __init__(self, terminal: Terminal, app: Aioq) -> None:
        self.terminal = terminal
        self.app = app

    def runs(self, name: str) -> list[str]:
        """Return the pids of the processes that have begun a job, in order."""
        noted = self.terminal.folder / f"{name}.runs"
        return noted.read_text().split() if noted.exists() else []

    def let_go(self, name: str) -> None:
        """Let a job that is held go on."""
        (self.terminal.folder / f"{name}.go").touch()


@pytest.fixture
def empty_url(server: PrivateServer) -> Iterator[str]:
    """An empty server."""
    admin = Admin(server.url)
    admin("FLUSHALL")
    yield server.url
    admin("FLUSHALL")
    admin.close()


@pytest.fixture
async def shop(empty_url: str, tmp_path: Path) -> AsyncGenerator[Shop]:
    """A shop whose workers have the shortest lease that there is."""
    terminal = Terminal(tmp_path, AIOQ_URL=empty_url, AIOQ_LEASE="1", AIOQ_GRACE="10")
    terminal.write("tasks.py", TASKS)
    app = Aioq()
    with app.connected_to(empty_url):
        yield Shop(terminal, app)
        terminal.clean_up()
        await app.aclose()
