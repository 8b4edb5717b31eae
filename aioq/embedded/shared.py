"""One development server for all processes of a project: web app, worker, shell.

Whoever comes first starts it, everybody else joins, and it stops when the last client is gone,
however that one died.  What makes this safe are four locks, explained in `guardian.py`.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from aioq.core.errors import AioqError, BrokerUnavailable, ConfigurationError
from aioq.embedded import binary, guardian, server, sockets
from aioq.embedded.log import Log, did_not_start, does_not_answer
from aioq.embedded.server import PATIENCE, POLL, Answer
from aioq.embedded.watchdog import LONGEST_STOP, script


class SharedServer:
    """The server of one project, joined for as long as this object is open.

    ```python
    with SharedServer(Path.cwd()) as server:
        app = Aioq(server.url)
    ```

    The lease is the process's: a child that it executes does not keep the server up, a child of
    `os.fork` does. Writes go to an append-only file that reaches the disk every second. `open`
    blocks: in a coroutine, `await asyncio.to_thread(server.open)`. A server that is forgotten
    without `close` stays open until the process ends.
    """

    started = False
    """Whether the latest `open` started the server; False where it joined a running one."""

    def __init__(self, project: Path, *, folder: str = ".aioq") -> None:
        """Describe the server; `open` starts or joins it.

        Args:
            project: The project's folder.
            folder: Where in it the data lie; `""` for the folder itself.
        """
        self.directory: Path = (project / folder).resolve()
        self._log = Log(self.directory / "server.log")
        self._socket_path: Path | None = None
        self._lease: int | None = None

    @property
    def url(self) -> str:
        """The `unix://` URL of the server; the same again after a crash."""
        return server.url(self.socket_path)

    @property
    def socket_path(self) -> Path:
        """The unix socket on which the server listens."""
        if self._socket_path is None:
            raise ConfigurationError(
                "This SharedServer is not open: use it in a `with` block, or call open()."
            )
        return self._socket_path

    @property
    def log(self) -> str:
        """What the server has printed, over several runs."""
        return self._log.text()

    def open(self) -> Self:
        """Start or join the server; return when it executes commands.

        Blocks for some 50 ms where it starts the server. Call it again to bring back a server
        that has crashed: the other clients find it at the same URL.

        Raises:
            ConfigurationError: No server binary is installed, the folder cannot be used, or the
                server refused to start; the message quotes its log.
            BrokerUnavailable: The server runs and does not answer.
        """
        try:
            self._open()
        except AioqError:
            raise
        except OSError as error:
            raise ConfigurationError(
                f"The embedded server cannot keep its data in {self.directory}: {error}. It needs "
                "a folder on a local disk that this user can write to. Name another one by "
                "embedded:///path/to/folder, or give the URL of a running server."
            ) from error
        return self

    def close(self) -> None:
        """Let go of the server; about a second after the last client did, it stops."""
        if self._lease is not None:
            # Not unlocked, which would take the lease from forked children as well.
            os.close(self._lease)
        self._lease = self._socket_path = None

    def wait(self) -> None:
        """Block until the server ends, for whatever reason."""
        # A connection closed by an administrator is no end of the server.
        while server.answer(self.socket_path) is Answer.READY:
            server.await_hangup(self.socket_path)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._create_folder()
        with self._starter():
            lease = self._take_lease()
            try:
                self.started: bool = self._ensure_running()
            except BaseException:
                os.close(lease)
                raise
        previous, self._lease = self._lease, lease
        if previous is not None:
            os.close(previous)

    def _create_folder(self) -> None:
        # Nobody else can enter it: the arguments of jobs are in it.
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a folder of our own is hidden from git, never one with the user's files in it.
        if not any(self.directory.iterdir()):
            (self.directory / ".gitignore").write_text("*\n")

    @contextmanager
    def _starter(self) -> Generator[None]:
        """Be the only one who decides about the server."""
        deadline = time.monotonic() + LONGEST_STOP + PATIENCE
        while (lock := self._try_lock(guardian.STARTER)) is None:
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"Another process has been opening the embedded server of {self.directory} "
                    f"for too long. `fuser {self.directory}/{guardian.STARTER}` shows which one: "
                    "end it."
                )
            time.sleep(POLL)
        try:
            yield
        finally:
            guardian.release(lock)

    def _take_lease(self) -> int:
        lease = os.open(self.directory / guardian.LEASE, os.O_RDWR | os.O_CREAT, 0o600)
        # The guardian holds it for a moment only, since `starter` is ours.
        fcntl.flock(lease, fcntl.LOCK_SH)
        return lease

    def _ensure_running(self) -> bool:
        """Leave with a server that executes commands; tell whether it was started here."""
        deadline = time.monotonic() + LONGEST_STOP
        while True:
            if self._held(guardian.GUARDIAN):
                if self._join():
                    return False
            elif not self._held(guardian.SERVER):
                self._launch()
                return True
            # The server is ending, because its guardian is: it must not share its data.
            if time.monotonic() > deadline:
                raise does_not_answer(self.directory, self._log)
            time.sleep(POLL)

    def _join(self) -> bool:
        """Wait for the guarded server; return False if its guardian ended instead."""
        # A live guardian's server listens where its starter wrote that it does.
        self._socket_path = sockets.recorded(self.directory)
        answer = server.await_ready(self._socket_path, self._unguarded)
        if answer is None or answer is Answer.READY:
            return answer is Answer.READY
        raise does_not_answer(self.directory, self._log)

    def _launch(self) -> None:
        program = binary.find()
        self._socket_path = sockets.choose(self.directory)
        command = server.command(
            program, socket_path=self._socket_path, directory=self.directory, appendonly=True
        )
        watched = [*script("TERM", None), *command]
        arguments = [str(self.directory), str(self._socket_path), str(guardian.LINGER)]
        with self._log.open_for_run() as output:
            # Isolated from the environment and from site-packages, which it does not need.
            subprocess.run(
                [sys.executable, "-I", "-S", guardian.__file__, *arguments, *watched],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                check=False,
            )
        answer = server.await_ready(self._socket_path, self._unguarded)
        if answer is None:
            raise did_not_start(program, self.directory, self._log)
        if answer is not Answer.READY:
            raise does_not_answer(self.directory, self._log)

    def _held(self, lock: str) -> bool:
        descriptor = self._try_lock(lock)
        if descriptor is not None:
            guardian.release(descriptor)
        return descriptor is None

    def _unguarded(self) -> bool:
        return not self._held(guardian.GUARDIAN)

    def _try_lock(self, lock: str) -> int | None:
        return guardian.acquire(self.directory / lock)
