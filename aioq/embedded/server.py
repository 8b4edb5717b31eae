"""What every embedded server has in common: its command line, a PING, and a good error.

The supervisor speaks to its server by a few inline commands over the unix socket, so that it
needs no client library.
"""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from urllib.parse import quote

PATIENCE = 10.0
"""Seconds without a sign of progress after which a server counts as stuck."""
POLL = 0.002
"""Seconds between two looks at a server that is starting; it takes about 20 ms."""


class Answer(Enum):
    """What a server says to PING."""

    NONE = "none"
    """Nobody listens on the socket, or nobody replies."""
    LOADING = "loading"
    """It is reading its data from disk."""
    READY = "ready"
    """It executes commands."""


def command(
    binary: Path,
    *,
    socket_path: Path,
    directory: Path,
    appendonly: bool,
    port: int | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """Return the command line of a server that only its own user can reach.

    Accepted alike by Valkey 8 and 9 and by Redis 7. `extra` comes last and overrides the rest.
    """
    settings = {
        "bind": "127.0.0.1",
        "port": str(port or 0),
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "save": "",
        "appendonly": "yes" if appendonly else "no",
        "appendfsync": "everysec",
        # Full is an error for the producer; an evicted job would be lost in silence.
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        # To stdout, where also the complaints about the settings themselves go.
        "logfile": "",
        "daemonize": "no",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return [str(binary), *options, *extra]


def url(socket_path: Path) -> str:
    """Return the URL by which the broker reaches the server on this socket."""
    return f"unix://{quote(bytes(socket_path))}"


def ask(socket_path: Path, words: str, *, timeout: float = 1.0) -> str:
    """Send one inline command and return the start of the reply; empty if nobody replied."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(bytes(socket_path))
            connection.sendall(words.encode() + b"\r\n")
            return connection.recv(4096).decode(errors="replace")
        except OSError:
            return ""


def await_hangup(socket_path: Path) -> None:
    """Hold an idle connection and return when the server closes it, at the latest by its end."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(bytes(socket_path))
        while connection.recv(4096):
            pass


def answer(socket_path: Path) -> Answer:
    """Tell what the server on this socket says to PING."""
    reply = ask(socket_path, "PING")
    if not reply:
        return Answer.NONE
    # Any other error, such as NOAUTH, comes from a server that executes commands.
    return Answer.LOADING if reply.startswith("-LOADING") else Answer.READY


def await_ready(socket_path: Path, ended: Callable[[], bool]) -> Answer | None:
    """Wait until the server executes commands; return None if it `ended` instead.

    Anything but READY means that it was silent for `PATIENCE` seconds. Reading data from disk
    is progress, however long it takes.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        state = answer(socket_path)
        if state is Answer.READY:
            return state
        if ended():
            return None
        now = time.monotonic()
        if state is Answer.LOADING:
            deadline = now + PATIENCE
        if now > deadline:
            return state
        time.sleep(POLL)
