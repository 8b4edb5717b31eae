"""A private server for each run, and what the harness reads from it."""

import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis

from aioq.embedded import PrivateServer
from benchmarks.processes import cpu_seconds

# Bytes by which the memory changes for this connection alone.
_OWN_BUFFERS = 16 * 1024


class Server:
    """A running server, seen from the harness's own connection."""

    def __init__(self, url: str, unix_socket: Path, pid: int) -> None:
        self.url = url
        self._pid = pid
        self._redis: Redis = Redis.from_url(url)
        self._unix_socket = unix_socket

    def version(self) -> str:
        """Return name and version, for the report."""
        info = self._redis.info("server")
        name = info.get("server_name", "redis")
        return f"{name} {info.get('valkey_version', info['redis_version'])}"

    def used_memory(self) -> int:
        """Return the bytes allocated, once they have stopped changing."""
        # Buffers of closed connections and the old half of a growing table are freed by and by.
        earlier, now = 0, self._read_used_memory()
        while abs(now - earlier) > _OWN_BUFFERS:
            time.sleep(0.5)
            earlier, now = now, self._read_used_memory()
        return now

    def connections(self) -> int:
        """Return how many connections are open beside our own."""
        return len(self._redis.client_list()) - 1

    def reads(self) -> int:
        """Return how often the server has read from a connection: the round trips, about."""
        return int(self._redis.info("stats")["total_reads_processed"])

    def watch_commands(self, seconds: float) -> int:
        """Return how many commands others send meanwhile; a script counts as one.

        MONITOR tells what came over a connection from what a script called; the server's own
        counters, also those of CLIENT LIST, count both.  Only for quiet times: it slows the rest.
        """
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self._unix_socket))
            monitor.sendall(b"MONITOR\r\n")
            time.sleep(seconds)
            monitor.settimeout(0)
            seen = b""
            with suppress(BlockingIOError):
                while part := monitor.recv(65536):
                    seen += part
        # The first line is the reply to MONITOR itself.
        lines = seen.splitlines()[1:]
        return sum(b" lua] " not in line for line in lines)

    def cpu_seconds(self) -> float:
        """Return the CPU used so far, user and system."""
        return cpu_seconds(os.getsid(self._pid))

    def close(self) -> None:
        """Close the harness's connection."""
        self._redis.close()

    def _read_used_memory(self) -> int:
        return int(self._redis.info("memory")["used_memory"])


@contextmanager
def private_server(*, tcp: bool = False) -> Generator[Server]:
    """Run an empty server which nobody else uses; over TCP for peers that know no Unix socket.

    Nothing is written to disk: its speed is not the question, and differs between machines.
    """
    port = _free_port() if tcp else None
    with PrivateServer(port=port) as started:
        url = f"redis://127.0.0.1:{port}/0" if tcp else started.url
        server = Server(url, Path(started.url.removeprefix("unix://")), started.pid)
        try:
            yield server
        finally:
            server.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
