"""A proxy between aioq and its server, which can do to a connection what networks do.

It knows nothing of what it carries: faults lie under the client, never in a mirrored fake server.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Proxy:
    """Listens on a port of its own and passes everything on, until it is told otherwise."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._carrying: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._replies_left: int | None = None
        self.delay = 0.0
        """Seconds that every chunk of bytes waits, in both directions."""
        self.is_up = True
        """False: connections are accepted and closed at once."""
        self.accepted = 0
        """How many connections have come so far."""
        self.url = ""
        """The URL to give to aioq."""

    def drop(self) -> None:
        """Cut every connection; new ones are welcome."""
        for each in self._carrying:
            each.cancel()

    def stall(self) -> None:
        """Pass nothing on any more, and keep connections open: half-open, for all they can see."""
        self._flows.clear()

    def resume(self) -> None:
        """Pass on what waits, and all that comes."""
        self._flows.set()

    def cut_after(self, count: int) -> None:
        """Pass on `count` more bytes of replies, then cut the connection they travel on."""
        self._replies_left = count

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        self.accepted += 1
        task = asyncio.create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def aclose(self) -> None:
        """Cut every connection, and return when nothing is left of them."""
        self.drop()
        if self._carrying:
            await asyncio.wait(self._carrying)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if not self.is_up:
                return
            back, there = await self._connect()
            writers.append(there)
            pumps = [
                asyncio.create_task(self._pump(reader, there, replies=False)),
                asyncio.create_task(self._pump(back, writer, replies=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.wait(pumps)
        except OSError:  # the server is not there
            pass
        finally:
            for each in writers:
                each.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(Path(unquote(self._target.path)))
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                await asyncio.sleep(self.delay)
                await self._flows.wait()
                left = self._replies_left if replies else None
                writer.write(data[:left])
                await writer.drain()
                if left is not None and left <= len(data):
                    self._replies_left = None
                    return
                if left is not None:
                    self._replies_left = left - len(data)
        except OSError:  # one side has gone; the other is told by closing it
            return


@asynccontextmanager
async def proxy_to(target: str) -> AsyncGenerator[Proxy]:
    """Run a proxy to the server at a `unix://` or `redis://` URL."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.url = f"redis://{host}:{port}/0"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
