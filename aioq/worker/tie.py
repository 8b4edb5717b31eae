"""What ties a worker process to its supervisor: a socket pair.

The child says over it what its supervisor has to know; the supervisor says that it shall drain, or
stop.  These are no signals, because Ctrl-C reaches both processes and must count once.  When the
supervisor is gone, however it died, the child hears the end of the stream and drains, and leaves
the hard way where it cannot: nothing is left behind.
"""

import asyncio
import faulthandler
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import NamedTuple, Self

import msgspec

VARIABLE = "_AIOQ_TIE"
"""Names the child's end, how many children came before it, and if it is one of several."""
MARGIN = 20.0
"""Seconds beyond the grace after which a worker that was asked to leave has to be gone.

It may give its jobs back (5 s) and write the last outcomes (10 s) after the grace.
"""
HELD_BACK = {each for each in signal.Signals if each.name in {"SIGINT", "SIGTERM", "SIGUSR1"}}
"""Signals that a supervisor blocks while it starts a child, until the child has handlers."""

_DRAIN = b"d"
_STOP = b"s"
_GIVE_WAY = b"g"
_STDERR = 2


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The child has loaded its app."""

    url: str
    """The server it uses."""
    embedded_url: str
    """What opens that server, where it is an embedded one; else empty."""
    prefix: str
    """Of its keys."""
    grace: float
    """Seconds that its jobs may take to end."""
    processes: int
    """How many workers there shall be."""


class Named(msgspec.Struct, frozen=True, tag=True):
    """The child is about to ask for the lease of an incarnation."""

    worker: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The child takes jobs."""


class Worn(msgspec.Struct, frozen=True, tag=True):
    """The child has lived as long as it may, and goes on until another one takes its place."""

    reason: str


class Left(msgspec.Struct, frozen=True, tag=True):
    """The worker has left in good order; its process is about to end."""


Message = Loaded | Named | Ready | Worn | Left
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class Words(NamedTuple):
    """What a child does at each word of its supervisor; called in a thread, with the reason."""

    drain: Callable[[str], None]
    """Let the running jobs end, within the grace."""
    stop: Callable[[str], None]
    """Give the running jobs back."""
    give_way: Callable[[str], None]
    """Let the running jobs end, however long they take: another worker has taken over."""


class Tie:
    """The child's end; without a supervisor it does nothing."""

    def __init__(
        self, stream: socket.socket | None, count: int, *, is_one_of_several: bool
    ) -> None:
        self._stream = stream
        self._grace = 0.0
        self._early: list[int] = []
        self.is_held: bool = stream is not None
        """Whether there is a supervisor."""
        self.is_restart: bool = count > 0
        """Whether a child came before this one, which has introduced itself."""
        self.is_one_of_several: bool = is_one_of_several
        """Whether the supervisor keeps several workers, and replaces them."""

    @classmethod
    def join(cls) -> Self:
        """Take the end that the supervisor has left for this process; in the main thread."""
        text = os.environ.pop(VARIABLE, None)
        if text is None:
            return cls(None, 0, is_one_of_several=False)
        descriptor, count, several = map(int, text.split(":"))
        stream = socket.socket(fileno=descriptor)
        stream.set_inheritable(False)
        tie = cls(stream, count, is_one_of_several=bool(several))
        if several:
            tie._await_signals()
        return tie

    def tell(self, message: Message) -> None:
        """Tell the supervisor something; from any thread, and without ever waiting."""
        if isinstance(message, Loaded):
            self._grace = message.grace
        if self._stream is None:
            return
        with suppress(OSError):  # it is gone, as `listen` will hear, or frozen
            self._stream.send(_encode(message) + b"\n", socket.MSG_DONTWAIT)

    def listen(self, words: Words) -> None:
        """Pass on, from a thread, what the supervisor says, and that it is gone."""
        if self._stream is not None:
            threading.Thread(
                target=self._hear, args=(self._stream, words), name="aioq-tie", daemon=True
            ).start()

    def _await_signals(self) -> None:
        """Keep early signals for `listen`: what starts now must not inherit that they are blocked.

        The stacks can be asked for while a module that the app imports hangs.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        faulthandler.register(signal.SIGUSR1, _STDERR, all_threads=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._early.append(number)

    def _hear(self, stream: socket.socket, words: Words) -> None:
        if self._early:
            words.drain(signal.Signals(self._early[0]).name)
        while word := _received(stream):
            if word == _STOP:
                words.stop("The supervisor leaves")
            elif word == _GIVE_WAY:
                words.give_way("Another worker has taken over")
            else:
                words.drain("The supervisor leaves")
        words.drain("The supervisor has gone")
        time.sleep(self._grace + MARGIN)
        # A task blocks the loop, or a lifespan hangs: nobody else is left to end this.
        os.write(_STDERR, b"aioq: the supervisor has gone and this worker cannot drain, leaving\n")
        os._exit(1)


class Hold:
    """The supervisor's end of a tie."""

    def __init__(self, count: int, *, is_one_of_several: bool = False) -> None:
        self._ours, self._childs = socket.socketpair()
        self._ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._text = f"{self._childs.fileno()}:{count}:{int(is_one_of_several)}"
        self._rest = b""
        self._heard: Callable[[Message], None] = _ignored

    @property
    def descriptor(self) -> int:
        """The child's end, for the child to inherit."""
        return self._childs.fileno()

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the child."""
        return {**environ, VARIABLE: self._text}

    def started(self, heard: Callable[[Message], None]) -> None:
        """Let go of the child's end, which is the child's alone now, and hear what it says."""
        self._childs.close()
        self._heard = heard
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    def drain(self) -> None:
        """Let the child end its jobs and leave."""
        self._say(_DRAIN)

    def stop(self) -> None:
        """Let the child give its jobs back and leave."""
        self._say(_STOP)

    def give_way(self) -> None:
        """Let the child end its jobs, however long they take, and leave."""
        self._say(_GIVE_WAY)

    def close(self) -> None:
        """Hear what is left, and let go; a child that still lives drains."""
        if self._ours.fileno() >= 0:
            self._read()
            asyncio.get_running_loop().remove_reader(self._ours)
        self._ours.close()
        self._childs.close()

    def _say(self, word: bytes) -> None:
        with suppress(OSError):  # it has ended
            self._ours.send(word)

    def _read(self) -> None:
        while True:
            try:
                data = self._ours.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(self._ours)
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._heard(_decode(line))


def _received(stream: socket.socket) -> bytes:
    try:
        return stream.recv(1)
    except OSError:
        return b""


def _ignored(message: Message) -> None:
    """Ignore what a child says before somebody listens."""
