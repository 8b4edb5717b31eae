"""The shared server held in the foreground, for the command `aioq server`."""

from pathlib import Path
from types import TracebackType
from typing import Self

from aioq.core.errors import BrokerUnavailable, ConfigurationError
from aioq.embedded import server
from aioq.embedded.log import quoted
from aioq.embedded.shared import SharedServer


class ForegroundServer:
    """The shared server of a folder, kept running by this process until it is interrupted.

    The command `aioq server` is this, with the path from `--dir`, or `.aioq` in the project:

    ```python
    with ForegroundServer(find_project(Path.cwd()) / ".aioq", port=port) as running:
        click.echo(f"{'Started' if running.started else 'Joined'} {running.url}")
        running.wait()
    ```

    `wait` returns only by an exception: `KeyboardInterrupt` on Ctrl-C, as anywhere else, and
    `BrokerUnavailable` where the server ended by itself. SIGTERM needs no handler. Either way the
    server saves its data and stops about a second later, unless other processes still use it:
    it then stops with the last of them.
    """

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        """Describe the server; `open` or `with` starts or joins it.

        Args:
            directory: Where its data lie; processes of the same project use `<project>/.aioq`.
            port: Listen on this port of 127.0.0.1 as well, until closed.
        """
        self._server = SharedServer(directory, folder="")
        self._port = port
        self._listening = False

    @property
    def url(self) -> str:
        """The URL to connect to: `redis://127.0.0.1:PORT/0` with a port, else `unix://…`."""
        return f"redis://127.0.0.1:{self._port}/0" if self._port else self._server.url

    @property
    def directory(self) -> Path:
        """Where the data lie."""
        return self._server.directory

    @property
    def started(self) -> bool:
        """Whether this process started the server; False where it joined a running one."""
        return self._server.started

    def open(self) -> Self:
        """Start or join the server.

        Raises:
            ConfigurationError: As `SharedServer.open`, or the port is taken.
            BrokerUnavailable: As `SharedServer.open`.
        """
        self._server.open()
        self._listening = self._port is not None and self._listen(self._port)
        if self._port and not self._listening:
            self._server.close()
            raise ConfigurationError(
                f"The embedded server cannot listen on port {self._port} of 127.0.0.1: another "
                "program does, or it is not allowed. Choose another port."
            )
        return self

    def wait(self) -> None:
        """Block until interrupted.

        Raises:
            BrokerUnavailable: The server ended by itself; the message quotes its log.
        """
        self._server.wait()
        raise BrokerUnavailable(
            f"The embedded server of {self.directory} has ended. Its log says:\n"
            f"{quoted(self._server.log)}"
        )

    def close(self) -> None:
        """Let go of the server, and of the port."""
        if self._listening:
            self._listen(0)
            self._listening = False
        self._server.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _listen(self, port: int) -> bool:
        # A server that was joined runs already, so its command line comes too late.
        reply = server.ask(self._server.socket_path, f"CONFIG SET port {port}")
        return reply.startswith("+OK")
