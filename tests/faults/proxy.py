"""A proxy between aioq and its server, which can do to a connection what networks do.

It knows nothing of what it carries: faults lie under the client, never in a mirrored fake server.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PROXY = "proxy"
"""The name of the tasks in here, which are no leak of those who are tested."""
AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket that closes with a reset."""


class Proxy:
    """Listens on a port of its own and passes everything on, until it is told otherwise."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._carrying: set[asyncio.Task[None]] = set()
        self._resetting: set[asyncio.Task[None]] = set()
        self._flow = _open_flow()
        self._replies_left: int | None = None
        self.delay = 0.0
        """Seconds that every chunk of bytes waits, in both directions."""
        self.is_up = True
        """False: new connections are accepted and closed at once."""
        self.claims: tuple[bytes, bytes] | None = None
        """What replies say, and what they say on this side in its place; equally long."""
        self.accepted = 0
        """How many connections have come so far."""
        self.url = ""
        """The URL to give to aioq."""

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._carrying)

    def drop(self) -> None:
        """Cut every connection; new ones are welcome."""
        for each in self._carrying:
            each.cancel()

    def reset(self) -> None:
        """Cut every connection as a router does that has forgotten it: with a reset."""
        self._resetting |= self._carrying
        self.drop()

    def stall(self) -> None:
        """Let the connections there are go deaf and mute, but stay open; new ones work."""
        self._flow.clear()
        self._flow = _open_flow()

    def hold(self) -> None:
        """Hold the bytes of all connections, new ones too, until `release`: a partition."""
        self._flow.clear()

    def release(self) -> None:
        """Pass on what was held, also where the sender has long given up: late is not never."""
        self._flow.set()

    def cut_after(self, count: int) -> None:
        """Pass on `count` more bytes of replies, then cut the connection they travel on."""
        self._replies_left = count

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        self.accepted += 1
        task = asyncio.create_task(self._carry(reader, writer), name=PROXY)
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        task.add_done_callback(self._resetting.discard)

    async def aclose(self) -> None:
        """Cut every connection, and return when nothing is left of them."""
        self.drop()
        if self._carrying:
            await asyncio.wait(self._carrying)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if self.is_up:
                back, there = await self._connect()
                writers.append(there)
                flow = self._flow
                await _first_of(
                    self._pump(reader, there, flow, replies=False),
                    self._pump(back, writer, flow, replies=True),
                )
        except OSError:  # the server is away, and the connection ends as one to it would
            return
        finally:
            is_reset = asyncio.current_task() in self._resetting
            for each in writers:
                if is_reset:
                    _reset_on_close(each)
                each.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(Path(unquote(self._target.path)))
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flow: asyncio.Event,
        *,
        replies: bool,
    ) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(self.delay)
            await flow.wait()
            if replies and self.claims:
                data = data.replace(*self.claims)
            left = self._replies_left if replies else None
            writer.write(data[:left])
            await writer.drain()
            if left is not None:
                self._replies_left = None if left <= len(data) else left - len(data)
                if self._replies_left is None:
                    return


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    under = writer.get_extra_info("socket")
    if under is not None and under.family != socket.AF_UNIX:
        under.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)


def _open_flow() -> asyncio.Event:
    flow = asyncio.Event()
    flow.set()
    return flow


async def _first_of(*pumps: Coroutine[Any, Any, None]) -> None:
    """Run until one has ended, for whatever reason, and end the others."""
    tasks = [asyncio.create_task(each, name=PROXY) for each in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(target: str, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
    """Run a proxy to the server at a `unix://` or `redis://` URL, which may speak TLS itself."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, ssl=tls)
    host, port = server.sockets[0].getsockname()
    proxy.url = f"{'rediss' if tls else 'redis'}://{host}:{port}/0"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
