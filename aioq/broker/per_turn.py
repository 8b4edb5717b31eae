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
        self.line = line
        self.patience = patience
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._collected: list[tuple[Item, asyncio.Future[Result]]] = []
        self._is_scheduled = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Add a request; the future gets its result, or what the call raised."""
        future: asyncio.Future[Result] = self._loop.create_future()
        if not self._under_way and not self._is_scheduled:
            self._send([item], [future])
            return future
        self._collected.append((item, future))
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)
        return future

    async def finished(self) -> None:
        """Wait until everything that was submitted has been answered."""
        while self._collected or self._under_way:
            self._idle.clear()
            await self._idle.wait()

    def drop(self) -> None:
        """Give up what has not been sent, and what is asked again and again; all is cancelled."""
        collected, self._collected = self._collected, []
        for _, future in collected:
            future.cancel()
        for task in self._asking:
            task.cancel()

    def keep(self, asking: asyncio.Task[None]) -> None:
        """Hold on to a task that asks again."""
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    def answered(self) -> None:
        """Note that a batch has its answers."""
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    def _flush(self) -> None:
        self._is_scheduled = False
        collected, self._collected = self._collected, []
        for start in range(0, len(collected), MOST):
            items, futures = zip(*collected[start : start + MOST], strict=True)
            self._send(items, futures)

    def _send(self, items: Sequence[Item], futures: Sequence[asyncio.Future[Result]]) -> None:
        batch = _Batch(self, self._make(items), futures)
        self._under_way += 1
        connection = self.line.connection
        if connection is None:
            batch.ask_again()
            return
        try:
            connection.send(batch.call.command, batch)
        except (UnicodeEncodeError, TypeError) as error:  # it cannot be packed
            batch.fail(error)


class _Batch(Generic[Item, Result]):
    """One call under way; to the connection it looks like a future.

    In fair weather the reply reaches the requests' futures without a task in between.  Anything
    else is left to a task that asks again.
    """

    __slots__ = ("_futures", "_owner", "call")

    def __init__(
        self,
        owner: PerTurn[Item, Result],
        call: Call[Sequence[Result]],
        futures: Sequence[asyncio.Future[Result]],
    ) -> None:
        self.call = call
        self._owner = owner
        self._futures = futures

    def done(self) -> bool:
        """Never before its reply, as far as the connection is concerned."""
        return False

    def set_result(self, reply: Reply) -> None:
        """Hand the results out."""
        self._succeed(self.call.parse(reply))

    def set_exception(self, exception: BaseException) -> None:  # noqa: ARG002 - as a future has it
        """Ask again; an error that is none of the weather comes back there."""
        self.ask_again()

    def exception(self) -> None:
        """Count the error as looked at."""

    def ask_again(self) -> None:
        """Leave the call to a task that persists through weather."""
        self._owner.keep(asyncio.ensure_future(self._ask()))

    def fail(self, error: Exception) -> None:
        """Hand an error out."""
        self._owner.answered()
        for future in self._futures:
            if not future.done():
                future.set_exception(error)
                future.exception()  # a caller that has gone need not be told

    async def _ask(self) -> None:
        owner = self._owner
        try:
            results = await owner.line.persist(self.call, patience=owner.patience)
        except Exception as error:  # noqa: BLE001 - handed on to whoever asked
            self.fail(error)
        except asyncio.CancelledError:
            owner.answered()
            for future in self._futures:
                future.cancel()
            raise
        else:
            self._succeed(results)

    def _succeed(self, results: Sequence[Result]) -> None:
        self._owner.answered()
        for future, result in zip(self._futures, results, strict=True):
            if not future.done():
                future.set_result(result)
