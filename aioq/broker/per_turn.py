"""Collect what one turn of the event loop asks for, and send it as one call.

Ten thousand coroutines that enqueue at the same time make forty script calls, not ten thousand.
Whoever comes while nothing is under way does not wait even for the end of the turn: a single
enqueue costs one round trip and no task switch besides.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from aioq.broker.connection import Connection
from aioq.broker.resp import Reply
from aioq.broker.scripts import Call

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 250
"""Items per call, so that no call keeps the server for longer than 5 ms."""


class Line(Protocol):
    """The way to the server; the broker."""

    @property
    def connection(self) -> Connection | None:
        """The shared connection, if it is open."""
        ...

    def persist(self, call: Call[T], *, patience: float | None) -> Awaitable[T]:
        """Run a script through weather."""
        ...


class PerTurn(Generic[Item, Result]):
    """Turns many single requests into few calls."""

    def __init__(
        self,
        line: Line,
        make: Callable[[Sequence[Item]], Call[Sequence[Result]]],
        *,
        patience: float,
    ) -> None:
        self._line = line
        self._make = make
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._collected: list[tuple[Item, asyncio.Future[Result]]] = []
        self._under_way: set[_Batch[Item, Result]] = set()
        self._is_scheduled = False

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Add a request; the future gets its result, or what the call raised."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._collected.append((item, future))
        if not self._under_way and not self._is_scheduled:
            self._flush()
        elif not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)
        return future

    async def finished(self) -> None:
        """Wait until everything that was submitted has been answered."""
        while self._collected or self._under_way:
            waiting = [future for batch in self._under_way for _, future in batch.requests]
            await (asyncio.wait(waiting) if waiting else asyncio.sleep(0))
            await asyncio.sleep(0)

    def _flush(self) -> None:
        self._is_scheduled = False
        collected, self._collected = self._collected, []
        for start in range(0, len(collected), MOST):
            batch = _Batch(self, collected[start : start + MOST])
            self._under_way.add(batch)
            batch.send()

    def call(self, items: Sequence[Item]) -> Call[Sequence[Result]]:
        """Make the call for some items."""
        return self._make(items)

    def connection(self) -> Connection | None:
        """The connection to send on now, if there is one."""
        return self._line.connection

    async def persist(self, call: Call[Sequence[Result]]) -> Sequence[Result]:
        """Run a call through weather."""
        return await self._line.persist(call, patience=self._patience)

    def answered(self, batch: "_Batch[Item, Result]") -> None:
        """Forget a batch."""
        self._under_way.discard(batch)


class _Batch(Generic[Item, Result]):
    """One call under way; to the connection it looks like a future.

    In fair weather the reply reaches the requests' futures without a task in between.  Anything
    else is left to a task that asks again.
    """

    def __init__(
        self,
        owner: PerTurn[Item, Result],
        requests: list[tuple[Item, asyncio.Future[Result]]],
    ) -> None:
        self.requests = requests
        self._owner = owner
        self._call = owner.call([item for item, _ in requests])
        self._persisting: asyncio.Task[None] | None = None

    def send(self) -> None:
        connection = self._owner.connection()
        if connection is None:
            self.set_exception(ConnectionError())
        else:
            connection.send(self._call.command, self)

    def done(self) -> bool:
        """Never before its reply, as far as the connection is concerned."""
        return False

    def set_result(self, reply: Reply) -> None:
        self._succeed(self._call.parse(reply))

    def set_exception(self, exception: BaseException) -> None:  # noqa: ARG002 - a future's signature
        """Ask again in a task; the same error, if it is none of the weather, comes back there."""
        self._persisting = asyncio.ensure_future(self._persist())

    def exception(self) -> None:
        """Do as if the error had been looked at."""

    async def _persist(self) -> None:
        try:
            results = await self._owner.persist(self._call)
        except Exception as error:  # noqa: BLE001 - handed on to whoever asked
            self._owner.answered(self)
            for _, future in self.requests:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # a caller that has gone need not be told
        except asyncio.CancelledError:
            self._owner.answered(self)
            for _, future in self.requests:
                future.cancel()
            raise
        else:
            self._succeed(results)

    def _succeed(self, results: Sequence[Result]) -> None:
        self._owner.answered(self)
        for (_, future), result in zip(self.requests, results, strict=True):
            if not future.done():
                future.set_result(result)
