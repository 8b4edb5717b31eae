"""The one real connection of a simulation, and what is done to the server at its end.

Whatever the simulated processes send passes here, one call after the other.  After each the length
of the log of the server is noted, so that it is known what a cut takes with it.
"""

import socket
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from aioq.broker.resp import INCOMPLETE, Argument, Reply, ReplyError, new_reader, pack
from aioq.broker.scripts import Call
from aioq.embedded import PrivateServer
from tests.broker.place import CLOCK

T = TypeVar("T")
LOGGING = ("--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
"""Each reply then finds its writes in the file, and the file is only appended to."""
_SET_CLOCK = "redis.call('DEL', KEYS[1] .. '~') redis.call('SET', KEYS[1] .. ARGV[1], ARGV[2])"


class Wire:
    """Runs calls at a given time."""

    def __init__(self, server: PrivateServer, prefix: str, queues: tuple[str, ...]) -> None:
        self._server = server
        self._prefix = prefix
        self._queues = queues
        self._time = 0
        self.bells: dict[str, int] = {}
        """How many tokens lay on each doorbell after the last call."""
        self._connect()

    def _connect(self) -> None:
        self._reader = new_reader()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(unquote(urlsplit(self._server.url).path))
        self._time = 0

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def run(self, call: Call[T], time_ms: int) -> T:
        """Run a call at this time by the server's clock.

        Raises:
            ReplyError: the script refused, or the server is full.
        """
        bells = [("LLEN", f"{self._prefix}b:{queue}") for queue in self._queues]
        clock: list[tuple[Argument, ...]] = []
        if time_ms != self._time:
            # By a script, because a full server takes no SET.
            clock = [("EVAL", _SET_CLOCK, 1, self._prefix, CLOCK, time_ms)]
            self._time = time_ms
        reply, *counts = self.ask(*clock, call.command, *bells)[len(clock) :]
        if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
            reply, *counts = self.ask(call.full_command, *bells)
        self.bells = dict(zip(self._queues, counts, strict=True))
        if isinstance(reply, ReplyError):
            raise ReplyError(f"{call.script.name}.lua: {reply}")
        return call.parse(reply)

    def ask(self, *commands: tuple[Argument, ...]) -> list[Reply]:
        """Send plain commands at once; an error is among the replies."""
        self._socket.sendall(b"".join(map(pack, commands)))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is INCOMPLETE:
                received = self._socket.recv(65536)
                assert received, f"the server is gone:\n{self._server.log}"
                self._reader.feed(received)
            else:
                replies.append(reply)
        return replies

    @property
    def logged(self) -> int:
        """How long the log of the server is, in bytes."""
        return self._log.stat().st_size

    @property
    def _log(self) -> Path:
        (log,) = (self._server.directory / "appendonlydir").glob("*.incr.aof")
        return log

    def kill_server(self, *, keep: int | None = None) -> None:
        """Kill the server and start it again, from the first bytes of its log where given."""
        self.close()
        self._server.kill()
        if keep is not None:
            with self._log.open("r+b") as log:
                log.truncate(keep)
        self._server.restart()
        self._connect()
