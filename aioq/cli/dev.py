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

from aioq import embedded
from aioq.cli import discovery, flags, references
from aioq.cli.failures import Failure, note
from aioq.cli.tie import Supervisor
from aioq.core.errors import AioqError

_MARGIN = 15.0
"""Seconds beyond the grace after which a worker that was asked to leave is killed."""


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
def dev(
    app: str | None,
    app_flag: str | None,
    folders: tuple[Path, ...],
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
    command = [sys.executable, "-m", "aioq", "worker", *([named] if named else []), *_text(chosen)]
    session = Session(command, folders or (Path.cwd(),))
    asyncio.run(session.run())
    if session.killed_by:
        sys.exit(128 + session.killed_by)


class Session:
    """One call of `aioq dev`."""

    def __init__(self, command: list[str], folders: tuple[Path, ...]) -> None:
        self._command = command
        self._folders = folders
        self._server: embedded.SharedServer | None = None
        self._children = 0
        self._child: asyncio.subprocess.Process | None = None
        self._tie = Supervisor(0)
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
            if self._server is not None:
                self._server.close()

    async def _run_worker(self) -> None:
        """Run one worker until the code changes; if it ends before, wait for the change."""
        child, tie = await self._start()
        hears = asyncio.create_task(self._hold_server(tie))
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
            for task in (hears, changed, ending):
                task.cancel()
            tie.close()

    async def _start(self) -> tuple[asyncio.subprocess.Process, Supervisor]:
        self._tie = tie = Supervisor(self._children)
        self._children += 1
        self._child = child = await asyncio.create_subprocess_exec(
            *self._command, env=tie.environment(os.environ), pass_fds=[tie.descriptor]
        )
        tie.started()
        if self._ending.is_set():  # a signal that came too early to reach this child
            tie.drain()
        return child, tie

    async def _hold_server(self, tie: Supervisor) -> None:
        """Keep the embedded server of the worker up while no worker runs."""
        facts = await tie.hear()
        if facts is None:
            return
        self._grace = facts.grace
        if facts.embedded_url and self._server is None:
            with suppress(AioqError):  # the worker has said what is wrong
                self._server = await asyncio.to_thread(embedded.open_url, facts.embedded_url)

    async def _end(self, child: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        """Let a worker drain; kill it where it does not, as when a task blocks its loop."""
        with suppress(ProcessLookupError):
            child.terminate()
        await asyncio.wait({ended}, timeout=self._grace + _MARGIN)
        if not ended.done():
            note(f"the worker did not drain in {self._grace + _MARGIN:g} s, killing it")
            child.kill()

    def _received(self, number: int) -> None:
        """End the session: the worker drains, then gives back, then is killed."""
        self._signals += 1
        self._ending.set()
        if self._signals == 1:
            self._tie.drain()
        elif self._signals == 2:
            self._tie.stop()
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


def _text(chosen: dict[str, Any]) -> list[str]:
    """Write flags as they stand on a command line."""
    words: list[str] = []
    for name, value in chosen.items():
        text = ",".join(value) if name == "queues" else value
        words.append(f"--{name.replace('_', '-')}={text}")
    return words


def _end_of(child: asyncio.subprocess.Process) -> str:
    code = child.returncode or 0
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
