"""Collect what one turn of the event loop asks for, and send it as one call.

Ten thousand coroutines that enqueue at the same time make forty script calls, not ten thousand,
and none of them waits longer than the turn.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 250
"""Items per call, so that no call keeps the server for longer than 5 ms."""


class PerTurn(Generic[Item, Result]):
    """Turns many single requests into few calls."""

    def __init__(self, send: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._collected: list[tuple[Item, asyncio.Future[Result]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Add a request; the future gets its result, or what the call raised."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._collected.append((item, future))
        if len(self._collected) == 1:
            self._loop.call_soon(self._flush)
        return future

    async def finished(self) -> None:
        """Wait until everything that was submitted has been answered."""
        while self._collected or self._sending:
            await asyncio.sleep(0)
            if self._sending:
                await asyncio.wait(self._sending)

    def _flush(self) -> None:
        collected, self._collected = self._collected, []
        for start in range(0, len(collected), MOST):
            task = self._loop.create_task(self._call(collected[start : start + MOST]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _call(self, requests: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._send([item for item, _ in requests])
        except Exception as error:  # noqa: BLE001 - handed on to whoever asked
            for _, future in requests:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # a caller that has gone need not be told
            return
        except asyncio.CancelledError:
            for _, future in requests:
                future.cancel()
            raise
        for (_, future), result in zip(requests, results, strict=True):
            if not future.done():
                future.set_result(result)
