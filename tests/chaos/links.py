"""The links between the processes and the server: one proxy each, in a thread nobody kills."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from tests.chaos.journal import GAP
from tests.faults.proxy import Proxy, proxy_to


class Links:
    """A proxy by name for each process."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._proxies: dict[str, Proxy] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-links")
        self._stack = AsyncExitStack()
        self._pulse: asyncio.Task[None] | None = None
        self.gaps: list[tuple[float, float]] = []
        """When the proxies themselves stood still."""

    def __enter__(self) -> Self:
        self._thread.start()

        async def begin() -> None:
            self._pulse = asyncio.create_task(self._watch())

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        async def end() -> None:
            if self._pulse is not None:
                self._pulse.cancel()
            await self._stack.aclose()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self, name: str) -> str:
        """Open a link; return its URL."""

        async def begin() -> Proxy:
            return await self._stack.enter_async_context(proxy_to(self._target))

        proxy = asyncio.run_coroutine_threadsafe(begin(), self._loop).result()
        self._proxies[name] = proxy
        return proxy.url

    def do(self, name: str, action: Callable[[Proxy], object]) -> None:
        """Do something to a link, in its thread."""
        self._loop.call_soon_threadsafe(action, self._proxies[name])

    async def _watch(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            if now - before > GAP:
                self.gaps.append((before, now))
            before = now
