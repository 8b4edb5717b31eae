"""Keep the embedded server of supervised workers up while none of them runs."""

import asyncio
from contextlib import suppress

from aioq import embedded
from aioq.core.errors import AioqError


class HeldServer:
    """The server that the workers use, where it is an embedded one."""

    def __init__(self) -> None:
        self._server: embedded.SharedServer | None = None
        self._opening: asyncio.Task[None] | None = None

    def hold(self, url: str) -> None:
        """Join the server that an `embedded://` URL opens, in the background; "" is none."""
        if url and self._server is None and self._opening is None:
            self._opening = asyncio.create_task(self._open(url))

    async def _open(self, url: str) -> None:
        with suppress(AioqError):  # the worker says what is wrong
            self._server = await asyncio.to_thread(embedded.open_url, url)
        self._opening = None

    async def aclose(self) -> None:
        """Let go of it; it stops when nobody else uses it."""
        if self._opening is not None:
            await self._opening
        if self._server is not None:
            self._server.close()
