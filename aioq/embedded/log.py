"""The file that takes what a server prints, and the error that quotes it."""

from pathlib import Path
from typing import BinaryIO

from aioq.core.errors import BrokerUnavailable, ConfigurationError
from aioq.embedded.server import PATIENCE

_LARGEST = 1_000_000
_QUOTED_LINES = 12


class Log:
    """The log of a server, over all its runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = 0

    def open_for_run(self) -> BinaryIO:
        """Open the file for what the next run prints.

        Earlier runs are kept, since they may tell why the server is started again, until the
        file reaches a megabyte.
        """
        file = self.path.open("ab")
        if file.tell() > _LARGEST:
            file.truncate(0)
        self.mark()
        return file

    def mark(self) -> None:
        """Let `since_start` quote only what comes from now on."""
        self._begin = self.path.stat().st_size

    def text(self) -> str:
        """Return everything in the log."""
        return self._read(0)

    def since_start(self) -> str:
        """Quote what the current run has printed."""
        return quoted(self._read(self._begin))

    def _read(self, start: int) -> str:
        try:
            return self.path.read_bytes()[start:].decode(errors="replace")
        except FileNotFoundError:
            return ""


def quoted(text: str) -> str:
    """Return the last lines of a log, indented for an error message."""
    lines = text.strip().splitlines()[-_QUOTED_LINES:]
    return "\n".join(f"    {line}" for line in lines) or "    (nothing)"


def did_not_start(binary: Path, directory: Path, log: Log) -> ConfigurationError:
    """Return the error for a server that ended before it answered."""
    return ConfigurationError(
        f"The embedded server {binary} ended while it was starting. Its log says:\n"
        f"{log.since_start()}\n"
        f"Mend what the log names; its data lie in {directory}. AIOQ_SERVER_BIN chooses another "
        "server binary, and a redis:// URL avoids the embedded server."
    )


def does_not_answer(directory: Path, log: Log) -> BrokerUnavailable:
    """Return the error for a server that runs and is silent."""
    return BrokerUnavailable(
        f"The embedded server of {directory} runs but did not answer for {PATIENCE:g} seconds. "
        f"Its log says:\n{log.since_start()}\n"
        "It may be stopped, stuck in a script, or started by another user or in another "
        f"container. See who holds it with `fuser {directory}/server.lock`, and end that process."
    )
