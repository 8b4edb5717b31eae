"""Where the unix sockets lie: short paths in folders that nobody else can enter.

A socket in the project's folder would often be too long to bind. A folder that another user
can write to would let that user put a server of their own in our server's place.
"""

import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from aioq.core.errors import ConfigurationError

LONGEST = 103
"""Bytes in the path of a socket: macOS takes 104, Linux 108, with a final NUL."""
RECORD = "socket"
"""The file in the data folder that says which folder it is, and where its server listens."""
_ROOM = 32


def scratch_folder() -> Path:
    """Create a folder for one private server: empty, new, and only ours."""
    return Path(tempfile.mkdtemp(prefix="aioq-", dir=_first_usable(_temporary())))


def choose(directory: Path) -> Path:
    """Return the socket for the server of `directory`: the one it had before, else a new one.

    It is recorded in `directory`, because two processes may disagree about the folder for
    sockets, and because clients expect a restarted server where it was.
    """
    record = _read_record(directory)
    if record and record[0] == directory and is_private(record[1].parent):
        return record[1]
    # A random name: a copy of the folder, or one made anew after `git clean`, is another server.
    path = runtime_folder() / f"{secrets.token_hex(6)}.sock"
    (directory / RECORD).write_bytes(b"%s\n%s\n" % (bytes(directory), bytes(path)))
    return path


def recorded(directory: Path) -> Path:
    """Return the socket on which the running server of `directory` listens.

    Raises:
        ConfigurationError: It is not recorded, or lies where another user could have put it.
    """
    record = _read_record(directory)
    if record and is_private(record[1].parent):
        return record[1]
    raise ConfigurationError(
        f"{directory / RECORD} does not name a socket that this user can trust, though a server "
        "is running there. Was it started by another user, or in another container? End it, or "
        f"use another folder; `fuser {directory}/server.lock` shows its process."
    )


def runtime_folder() -> Path:
    """Return the folder for the sockets of this user's shared servers; create it if need be.

    It is `aioq-<uid>` in `$XDG_RUNTIME_DIR`, else in the temporary folder.

    Raises:
        ConfigurationError: something else is in its place.
    """
    bases = chain([os.environ.get("XDG_RUNTIME_DIR", "")], _temporary())
    folder = _first_usable(bases) / f"aioq-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not is_private(folder):
        raise ConfigurationError(
            f"{folder} must be a folder that belongs to you and that nobody else can enter "
            "(mode 0700), or another user could pose as the server. Remove it, or set "
            "XDG_RUNTIME_DIR to a folder of your own."
        )
    return folder


def is_private(folder: Path) -> bool:
    """Tell whether this is a folder of ours, not a link to one, closed to all other users."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    closed = not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and closed


def _read_record(directory: Path) -> tuple[Path, Path] | None:
    """Return for which folder the socket was chosen, and the socket."""
    try:
        parts = (directory / RECORD).read_bytes().rsplit(b"\n", 2)
    except FileNotFoundError:
        return None
    if len(parts) != 3:
        return None
    return Path(os.fsdecode(parts[0])), Path(os.fsdecode(parts[1]))


def _temporary() -> Iterator[str]:
    # Lazily, since asking for the temporary folder writes a file to it.
    yield tempfile.gettempdir()
    # For a TMPDIR too long for a socket.
    yield "/tmp"  # noqa: S108 - the folders made in it are private, and checked to be


def _first_usable(bases: Iterable[str]) -> Path:
    """Return the first folder that is writable and leaves `_ROOM` for a socket's name."""
    for base in bases:
        short = len(os.fsencode(base)) + _ROOM <= LONGEST
        if base and short and Path(base).is_dir() and os.access(base, os.W_OK | os.X_OK):
            return Path(base).absolute()
    raise ConfigurationError(
        "No folder for the embedded server's socket: it needs a writable folder with a path of "
        f"at most {LONGEST - _ROOM} bytes. Set XDG_RUNTIME_DIR or TMPDIR to one."
    )
