"""One child process for tasks, as its worker sees it; `child` is what runs there.

It leads a process group of its own, so that killing it takes along what its task has started.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from aioq.worker.orders import LENGTH, STARTED

_BOOT = (
    "import json, sys; descriptor, path = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from aioq.worker.child import serve; serve(descriptor)"
)
"""What the interpreter is started with; the path comes first, since aioq may stand on it."""
_LAST_WORDS = 0.5
"""Seconds to read what a process wrote before it died, or to learn how it died."""
_CHUNK = 1 << 18


class Died(Exception):
    """The process died before it had an answer."""


class NoProcess(Exception):
    """No process could be started: the machine lacks memory, or something else for a while."""


class TaskProcess:
    """A child process, idle or with one job."""

    def __init__(self, process: asyncio.subprocess.Process, stream: socket.socket) -> None:
        self._process = process
        self._stream = stream
        self.ended: asyncio.Future[int] = asyncio.ensure_future(process.wait())
        """Done when the process is gone."""
        self.ended.add_done_callback(self._end_stream)

    @classmethod
    async def start(cls) -> Self:
        """Start a fresh interpreter.

        Raises:
            NoProcess: the operating system refused.
        """
        try:
            return await cls._start()
        except OSError as error:
            raise NoProcess(str(error)) from error

    async def run(self, order: bytes, started: Callable[[], None]) -> bytes:
        """Have it run one job, and return its answer.

        Whatever else ends this kills the process: a cancellation, or its own death.

        Args:
            order: what `orders.order` wrote.
            started: called when the function begins.

        Raises:
            Died: the process died.
        """
        try:
            answer = await self._ask(order, started)
        except (OSError, EOFError) as error:
            raise Died(await self._epitaph()) from error
        except BaseException:
            self.kill()
            raise
        return answer

    def kill(self) -> None:
        """Kill it, and what its task has started."""
        self.close()
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let it end; in the middle of a job it kills itself."""
        self._stream.close()

    @classmethod
    async def _start(cls) -> Self:
        ours, childs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        descriptor = childs.fileno()
        try:
            with childs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-c",
                    _BOOT,
                    json.dumps([descriptor, [*map(str, sys.path)]]),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(descriptor,),
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        return cls(process, ours)

    async def _ask(self, order: bytes, started: Callable[[], None]) -> bytes:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._stream, LENGTH.pack(len(order)) + order)
        while True:
            frame = await self._frame()
            if frame != STARTED:
                return frame
            started()

    async def _frame(self) -> bytes:
        (length,) = LENGTH.unpack(await self._read(LENGTH.size))
        return await self._read(length)

    async def _read(self, length: int) -> bytes:
        loop, parts, missing = asyncio.get_running_loop(), list[bytes](), length
        while missing:
            part = await loop.sock_recv(self._stream, min(missing, _CHUNK))
            if not part:
                raise EOFError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _end_stream(self, _: "asyncio.Future[int]") -> None:
        """End the stream of a dead process, which a process that it left behind may hold open."""
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._shut_down)

    def _shut_down(self) -> None:
        with suppress(OSError):  # it is closed
            self._stream.shutdown(socket.SHUT_RDWR)

    async def _epitaph(self) -> str:
        """Say how it died."""
        await asyncio.wait({self.ended}, timeout=_LAST_WORDS)
        self.kill()
        code = self._process.returncode
        if code is None:
            return "it closed its connection"
        if code >= 0:
            return f"it exited with code {code}"
        name = signal.Signals(-code).name
        return f"it was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
