"""What ties a supervised worker to its supervisor: a socket pair.

The child says over it which embedded server it uses and how long it may take to drain; the
supervisor says that it shall drain, or stop.  These are no signals, because Ctrl-C reaches both
processes and must count once.  When the supervisor is gone, however it died, the child hears the
end of the stream and drains: nothing is left behind.
"""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, Self

from aioq.app import Aioq
from aioq.app.environment import DEFAULT_URL

VARIABLE = "_AIOQ_TIE"
"""Names the child's end, and how many children came before it: `FD:COUNT`."""


_DRAIN = b"d"
_STOP = b"s"


class Facts(NamedTuple):
    """What a child says of itself."""

    embedded_url: str
    """The embedded server it uses; empty: another server."""
    grace: float
    """Seconds that its jobs may take to end."""


class Tie:
    """The child's end; without a supervisor it does nothing."""

    def __init__(self, stream: socket.socket | None, count: int) -> None:
        self._stream = stream
        self.is_restart: bool = count > 0
        """Whether a child came before this one, which has introduced itself."""

    @classmethod
    def join(cls) -> Self:
        """Take the end that the supervisor has left for this process."""
        text = os.environ.pop(VARIABLE, None)
        if text is None:
            return cls(None, 0)
        descriptor, _, count = text.partition(":")
        stream = socket.socket(fileno=int(descriptor))
        stream.set_inheritable(False)
        return cls(stream, int(count))

    def tell(self, app: Aioq) -> None:
        """Tell the supervisor which server it has to hold."""
        if self._stream is None:
            return
        url = app.settings.url
        if url is None:
            url = "" if app.server.url == DEFAULT_URL else "embedded://"
        facts = Facts(url if url.startswith("embedded:") else "", app.settings.grace)
        try:
            self._stream.sendall(json.dumps(facts._asdict()).encode())
        except OSError:  # it has gone, as `listen` will hear
            return

    def listen(self, drain: Callable[[str], None], stop: Callable[[str], None]) -> None:
        """Call one of these, in a thread, when the supervisor says so or is gone."""
        stream = self._stream
        if stream is None:
            return

        def hear() -> None:
            while word := _received(stream):
                (stop if word == _STOP else drain)("The supervisor leaves")
            drain("The supervisor has gone")

        threading.Thread(target=hear, name="aioq-tie", daemon=True).start()


class Supervisor:
    """The supervisor's end of a tie."""

    def __init__(self, count: int) -> None:
        self._ours, self._childs = socket.socketpair()
        self._ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._count = count

    @property
    def descriptor(self) -> int:
        """The child's end, for the child to inherit."""
        return self._childs.fileno()

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the child."""
        return {**environ, VARIABLE: f"{self.descriptor}:{self._count}"}

    def started(self) -> None:
        """Let go of the child's end, which is the child's alone from now on."""
        self._childs.close()

    async def hear(self) -> Facts | None:
        """Wait for what the child says; None: it ended first."""
        data = await asyncio.get_running_loop().sock_recv(self._ours, 4096)
        return Facts(**json.loads(data)) if data else None

    def drain(self) -> None:
        """Let the child end its jobs and leave."""
        self._say(_DRAIN)

    def stop(self) -> None:
        """Let the child give its jobs back and leave."""
        self._say(_STOP)

    def close(self) -> None:
        """Let go; a child that still lives drains."""
        self._ours.close()

    def _say(self, word: bytes) -> None:
        with suppress(OSError):  # it has ended
            self._ours.send(word)


def _received(stream: socket.socket) -> bytes:
    try:
        return stream.recv(1)
    except OSError:
        return b""
