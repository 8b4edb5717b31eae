"""`aioq dev`: this project's server, and a worker that is started anew when the code changes.

The worker is a child process: a module that is imported cannot be taken back.  This process never
imports the user's app, so that no mistake in it ends the session.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from aioq.cli import discovery, flags, references
from aioq.cli.failures import Failure, note
from aioq.worker.held_server import HeldServer
from aioq.worker.tie import MARGIN, Hold, Loaded, Message


@click.command()
@click.argument("app", required=False, metavar="[MODULE:APP]")
@flags.app_option
@flags.setting_options("url", "concurrency", "queues", "log_level", "log_format")
@click.option(
    "--watch",
    "folders",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Watch this folder or file; may be repeated.  [default: the current folder]",
)
@click.option("--no-scheduler", is_flag=True, help="Fire no schedules.")
def dev(
    app: str | None,
    app_flag: str | None,
    folders: tuple[Path, ...],
    *,
    no_scheduler: bool,
    **given: Any,  # noqa: ANN401 - values of settings
) -> None:
    """Run a worker that is started anew when a Python file changes, with the server it needs.

    Where no URL is given, the server is this project's embedded one, with its data in .aioq/;
    it stops when the last of its clients does.
    """
    chosen = flags.given(given)
    flags.settle(chosen)
    _require_watchfiles()
    named = discovery.one_of(app, app_flag)
    if named:
        references.parse(named, Path.cwd())
    words = [*([named] if named else []), *flags.written(chosen)]
    words += ["--no-scheduler"] if no_scheduler else []
    command = [sys.executable, "-m", "aioq", "worker", *words]
    session = Session(command, folders or (Path.cwd(),))
    asyncio.run(session.run())
    if session.killed_by:
        sys.exit(128 + session.killed_by)


class Session:
    """One call of `aioq dev`."""

    def __init__(self, command: list[str], folders: tuple[Path, ...]) -> None:
        self._command = command
        self._folders = folders
        self._server = HeldServer()
        self._children = 0
        self._child: asyncio.subprocess.Process | None = None
        self._hold = Hold(0)
        self._grace = 0.0
        self._signals = 0
        self._ending = asyncio.Event()
        self._changed = asyncio.Event()
        self._what_changed = ""
        self.killed_by: int = 0
        """The signal that cut the session short; 0: it ended cleanly."""

    async def run(self) -> None:
        """Run until a signal ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._received, number)
        watches = asyncio.create_task(self._watch())
        note(f"watching {', '.join(map(str, self._folders))}; Ctrl-C ends the session")
        try:
            while not self._ending.is_set():
                self._changed.clear()
                await self._run_worker()
        finally:
            watches.cancel()
            await asyncio.wait({watches})
            await self._server.aclose()

    async def _run_worker(self) -> None:
        """Run one worker until the code changes; if it ends before, wait for the change."""
        child, hold = await self._start()
        ended = asyncio.create_task(child.wait())
        changed = asyncio.create_task(self._changed.wait())
        ending = asyncio.create_task(self._ending.wait())
        first = asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait({ended, changed, ending}, return_when=first)
            if ended.done() and not changed.done() and not ending.done():
                note(f"the worker has ended ({_end_of(child)}); waiting for a change")
                await asyncio.wait({changed, ending}, return_when=first)
            if changed.done() and not ending.done():
                note(f"{self._what_changed} has changed, starting the worker anew")
                await self._end(child, ended)
            await ended
        finally:
            for task in (changed, ending):
                task.cancel()
            hold.close()

    async def _start(self) -> tuple[asyncio.subprocess.Process, Hold]:
        self._hold = hold = Hold(self._children)
        self._children += 1
        self._child = child = await asyncio.create_subprocess_exec(
            *self._command, env=hold.environment(os.environ), pass_fds=[hold.descriptor]
        )
        hold.started(self._heard)
        if self._ending.is_set():  # a signal that came too early to reach this child
            hold.drain()
        return child, hold

    def _heard(self, message: Message) -> None:
        if isinstance(message, Loaded):
            self._grace = message.grace
            self._server.hold(message.embedded_url)

    async def _end(self, child: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        """Let a worker drain; kill it where it does not, as when a task blocks its loop."""
        with suppress(ProcessLookupError):
            child.terminate()
        await asyncio.wait({ended}, timeout=self._grace + MARGIN)
        if not ended.done():
            note(f"the worker did not drain in {self._grace + MARGIN:g} s, killing it")
            child.kill()

    def _received(self, number: int) -> None:
        """End the session: the worker drains, then gives back, then is killed."""
        self._signals += 1
        self._ending.set()
        if self._signals == 1:
            self._hold.drain()
        elif self._signals == 2:
            self._hold.stop()
        elif self._child is not None:
            self.killed_by = number
            with suppress(ProcessLookupError):
                self._child.kill()

    async def _watch(self) -> None:
        from watchfiles import (  # noqa: PLC0415 - an extra
            PythonFilter,
            awatch,  # pyright: ignore[reportUnknownVariableType] - it supports trio as well
        )

        async for changes in awatch(*self._folders, watch_filter=PythonFilter()):
            files = sorted(Path(path).name for _, path in changes)
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            self._what_changed = f"{files[0]}{more}"
            self._changed.set()


def _require_watchfiles() -> None:
    if find_spec("watchfiles") is None:
        message = 'aioq dev needs the package watchfiles: pip install "aioq-tasks[dev]"'
        raise Failure(message)


def _end_of(child: asyncio.subprocess.Process) -> str:
    code = child.returncode or 0
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
