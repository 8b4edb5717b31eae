"""A throwaway server of one process, for tests.

It dies with the process that started it, whatever way that one dies, and its folder with it.
It survives Ctrl-C to the process group, and the end of forked children.
"""

import asyncio
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aioq.core.errors import ConfigurationError
from aioq.embedded import binary, server, sockets
from aioq.embedded.log import Log, did_not_start, does_not_answer
from aioq.embedded.server import Answer
from aioq.embedded.watchdog import Watchdog


class PrivateServer:
    """A server for this process alone, on a unix socket that no other user can reach.

    ```python
    with PrivateServer() as server:
        app = Aioq(server.url)
    ```

    `async with` does the same without blocking the loop. Everything lies in a temporary folder
    that is removed at the end, unless `directory` is given; by default nothing is written to disk.
    """

    def __init__(
        self,
        *,
        appendonly: bool = False,
        directory: Path | None = None,
        port: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        """Describe the server; `start` starts it.

        Args:
            appendonly: Log every write to disk, so that data survive `kill` and `restart`.
            directory: Where the data lie; kept at the end, and created if missing.
            port: Listen on this port of 127.0.0.1 as well.
            arguments: More options of the server, such as `["--maxmemory", "50mb"]`.
        """
        self._appendonly = appendonly
        self._kept = directory.absolute() if directory else None
        self._port = port
        self._arguments = tuple(arguments)
        self._started: _Started | None = None
        self._last_log = ""

    @property
    def url(self) -> str:
        """The `unix://` URL of the server."""
        return server.url(self._running.socket_path)

    @property
    def pid(self) -> int:
        """The process id of the server; `restart` changes it."""
        return self._running.watchdog.pid

    @property
    def directory(self) -> Path:
        """The folder with the server's data."""
        return self._kept or self._running.scratch

    @property
    def log(self) -> str:
        """What the server has printed; after `stop`, what it had printed until then."""
        return self._started.log.text() if self._started else self._last_log

    def start(self) -> Self:
        """Start the server and wait until it executes commands.

        Raises:
            ConfigurationError: No server binary is installed, or the server refused to start;
                the message quotes its log.
        """
        if self._started:
            raise ConfigurationError("This PrivateServer is running already: stop it first.")
        program = binary.find()
        if self._kept:
            self._kept.mkdir(parents=True, exist_ok=True)
        scratch = sockets.scratch_folder()
        try:
            self._started = self._launch(program, scratch)
        except OSError:
            shutil.rmtree(scratch)
            raise
        self._await_ready()
        return self

    def stop(self) -> None:
        """Stop the server and remove its temporary folder; do nothing if it is not running."""
        if self._started is None:
            return
        self._last_log = self.log
        self._started.watchdog.stop()
        self._started = None

    def kill(self) -> None:
        """Kill the server, as the kernel would for want of memory; `restart` brings it back."""
        self._running.watchdog.end_run(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""
        self._running.watchdog.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._running.watchdog.send(signal.SIGCONT)

    def restart(self) -> None:
        """Start the server again at the same URL, after ending it cleanly if it still runs.

        With `appendonly` it comes back with its data.
        """
        self._running.log.mark()
        self._running.watchdog.end_run(signal.SIGTERM)
        self._running.watchdog.run_again()
        self._await_ready()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def _running(self) -> "_Started":
        if self._started is None:
            raise ConfigurationError(
                "This PrivateServer is not running: use it in a `with` block, or call start()."
            )
        return self._started

    def _launch(self, program: Path, scratch: Path) -> "_Started":
        log = Log(scratch / "log")
        command = server.command(
            program,
            socket_path=scratch / "s",
            directory=self._kept or scratch,
            appendonly=self._appendonly,
            port=self._port,
            extra=self._arguments,
        )
        with log.open_for_run() as output:
            # What lies in the scratch folder need not be saved first.
            stop_with = "TERM" if self._kept else "KILL"
            watchdog = Watchdog(command, output, stop_with=stop_with, scratch=scratch)
        return _Started(program, scratch, log, watchdog)

    def _await_ready(self) -> None:
        started = self._running
        answer = server.await_ready(started.socket_path, started.watchdog.ended)
        if answer is Answer.READY:
            return
        # The log is quoted before `stop` removes it.
        failure = (
            did_not_start(started.program, self.directory, started.log)
            if answer is None
            else does_not_answer(self.directory, started.log)
        )
        self.stop()
        raise failure


@dataclass(frozen=True)
class _Started:
    """What exists between `start` and `stop`."""

    program: Path
    scratch: Path
    log: Log
    watchdog: Watchdog

    @property
    def socket_path(self) -> Path:
        return self.scratch / "s"
