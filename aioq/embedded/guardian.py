"""The process that ends a shared server when its last client is gone.

It runs as a script, without site-packages and without the rest of aioq, so that it starts in
20 ms and works whatever the user's app does to the interpreter; `shared.py` imports the names and
the lock from here. What is true of a shared server is never written down, only held: each lock is
an flock, and the kernel releases it when its last holder is gone, also after SIGKILL.

| lock       | held by                                                                        |
|------------|--------------------------------------------------------------------------------|
| `starter`  | whoever decides: a client that opens, or the guardian while it stops the server |
| `lease`    | every client, shared                                                           |
| `guardian` | the guardian                                                                   |
| `server`   | the server and its watchdog: while it is held, the data folder is in use        |

The guardian takes the lease exclusively to see that no client is left, with `starter` in its hand:
a client either has its lease by then and keeps the server, or waits and starts a new one. If the
guardian is killed, the watchdog's pipe closes and the server stops; a client that opens meanwhile
sees that `guardian` is free, and waits for `server` to be free before it starts another.
"""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from io import FileIO
from pathlib import Path

STARTER = "starter.lock"
LEASE = "lease.lock"
GUARDIAN = "guardian.lock"
SERVER = "server.lock"

LINGER = 0.7
"""Seconds that the server stays up without clients, for a command that follows another."""
_LOOKS = 7
_WATCHDOG_LOCK = 9


def main(directory: Path, socket_path: Path, linger: float, watchdog: list[str]) -> None:
    """Run a server until it has had no client for `linger` seconds.

    `watchdog` is the command line that runs the server. The client that starts this process
    waits for it only until it has forked: the locks are held then.
    """
    guardian = acquire(directory / GUARDIAN)
    server = acquire(directory / SERVER)
    if guardian is None or server is None:
        sys.exit(f"Another server is running in {directory}.")
    # The client must not have a child that it does not know, which its own waiting would find.
    if os.fork():
        os._exit(0)
    _settle_signals()
    _guard(directory, linger, watchdog, server)
    # No other server is started on this path while `guardian` is held.
    socket_path.unlink(missing_ok=True)


def acquire(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if somebody else holds it.

    The lock ends when this descriptor and its copies in forked children are closed.
    """
    descriptor = _open(path)
    if _lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def release(descriptor: int) -> None:
    """Release a lock, also where another thread has forked in the meantime."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _settle_signals() -> None:
    # The server is stopped by a signal: what the client blocks or ignores must not reach it.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    # The terminal's signals are for the clients.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _guard(directory: Path, linger: float, command: list[str], server: int) -> None:
    os.dup2(server, _WATCHDOG_LOCK)
    os.close(server)
    orders, owner_end = os.pipe()
    reports, reporting = os.pipe()
    watchdog = subprocess.Popen(command, stdin=orders, stdout=reporting, pass_fds=[_WATCHDOG_LOCK])
    for descriptor in (orders, reporting, _WATCHDOG_LOCK):
        os.close(descriptor)
    with FileIO(reports) as lines:
        lines.readline()
        _await_end(directory, linger, lines)
    os.close(owner_end)
    watchdog.wait()


def _await_end(directory: Path, linger: float, reports: FileIO) -> None:
    """Return when the server has ended, or when it must: `starter` and `lease` are held then."""
    lease = _open(directory / LEASE)
    starter = _open(directory / STARTER)
    last_used = time.monotonic()
    while not select.select([reports], [], [], linger / _LOOKS)[0]:
        now = time.monotonic()
        if not _lock(lease):
            last_used = now
            continue
        # Never wait for `starter`: the client that holds it may be waiting for us to end.
        if now - last_used >= linger and _lock(starter):
            return
        fcntl.flock(lease, fcntl.LOCK_UN)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
