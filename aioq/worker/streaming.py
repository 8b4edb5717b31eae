"""Run a task that streams: what its generator yields goes to the server as it is yielded.

The generator waits for the server, and never for a reader.  Whatever it has yielded is on the
server before its end is settled, so a reader that has heard of the end has only to look once more.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from aioq.context import Context, current_job, link_of
from aioq.core import codec
from aioq.core.errors import AioqError, PayloadTooLarge

log: logging.Logger = logging.getLogger("aioq.worker")

ROOM = 100
"""Items that may wait for the server; the generator waits behind them."""
ROOM_BYTES = 1024 * 1024
LAST_WORDS = 2.0
"""Seconds that a cancelled job waits for the server to take what it had yielded."""

Emit = Callable[[int, int, Sequence[bytes]], Awaitable[int]]


class TakenOver(AioqError):
    """The server refuses the items: another worker has the job, or it has ended."""


def streaming(
    function: Callable[..., AsyncGenerator[Any]],
) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return the coroutine function that runs a generator function to its end."""

    async def run(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the task's
        context = current_job()
        outbox = Outbox(link_of(context).emit)
        if context.request.deliveries > 1:
            outbox.begin()  # readers of the last run are told now, not with the first item
        async with aclosing(function(*args, **kwargs)) as generator:
            await _run(generator, outbox, context)

    return run


async def _run(generator: AsyncGenerator[Any], outbox: "Outbox", context: Context) -> None:
    try:
        await _pass_on(generator, outbox, context)
        await outbox.finish()
    except TakenOver:  # the settle of this delivery will be refused, too
        log.warning("Job %s streams elsewhere: it was taken over, or ended.", context.job_id)
    except (KeyboardInterrupt, GeneratorExit):  # nothing can be awaited any more
        raise
    except BaseException:
        if context.cancel_reason != "lease lost":
            seconds = None if context.cancel_reason is None else LAST_WORDS
            with suppress(AioqError, TimeoutError):
                async with asyncio.timeout(seconds):
                    await outbox.finish()
        raise
    finally:
        outbox.close()


async def _pass_on(generator: AsyncGenerator[Any], outbox: "Outbox", context: Context) -> None:
    """Send what a generator yields; what goes wrong with an item is raised at its `yield`."""
    advance: Callable[[], Awaitable[Any]] = generator.__anext__
    while True:
        try:
            item = await advance()
        except StopAsyncIteration:
            return
        advance = generator.__anext__
        try:
            await outbox.put(_encoded(item, context))
        except TakenOver:
            raise
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - handed on
            advance = partial(generator.athrow, error)


def _encoded(item: object, context: Context) -> bytes:
    """Encode an item.

    Raises:
        TypeError: it cannot be serialised.
        PayloadTooLarge: it is larger than `Settings.max_payload`.
    """
    try:
        encoded = codec.encode_value(item)
    except (TypeError, OverflowError, ValueError, RecursionError) as error:
        message = (
            f"{context.task_name} yielded a value of type {type(item).__qualname__} that cannot be "
            f"serialised: {error}; yield plain values"
        )
        raise TypeError(message) from None
    most = context.app.settings.max_payload
    if len(encoded) > most:
        message = (
            f"an item that {context.task_name} yielded takes {len(encoded):,} bytes, more than "
            f"max_payload={most:,}; yield smaller parts, or store the data elsewhere and yield its "
            "key"
        )
        raise PayloadTooLarge(message)
    return encoded


class Outbox:
    """The items of one run on their way: one call at a time, so that they stay in order.

    An item is sent at once when none is under way; those that come meanwhile go together.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._items: list[bytes] = []
        self._size = 0
        self._generation = 0
        self._first = 1
        self._sending: asyncio.Task[None] | None = None
        """The call under way, or the one that has failed."""

    def begin(self) -> None:
        """Begin the generation, before there are items."""
        self._send()

    async def put(self, item: bytes) -> None:
        """Send an item; return when there is room for another.

        Raises:
            TakenOver: this delivery is nobody's business any more.
        """
        self._items.append(item)
        self._size += len(item)
        if self._sending is None:
            self._send()
            await asyncio.sleep(0)  # it leaves before the generator goes on, which may take long
        while self._sending is not None and (
            len(self._items) >= ROOM or self._size >= ROOM_BYTES or self._sending.done()
        ):
            await self._sent()

    async def finish(self) -> None:
        """Wait until everything is on the server; there is a generation then, even an empty one.

        Raises:
            TakenOver: see `put`.
        """
        if self._sending is None and not self._generation:
            self._send()
        while self._sending is not None:
            await self._sent()

    def close(self) -> None:
        """Leave behind what is not sent."""
        if self._sending is not None:
            self._sending.remove_done_callback(self._go_on)
            self._sending.cancel()

    async def _sent(self) -> None:
        """Wait for the call under way; being cancelled does not touch it."""
        assert self._sending is not None  # noqa: S101 - narrows the type
        sending = self._sending
        await asyncio.wait([sending])
        if self._sending is sending:  # it failed, for else the next one has begun, or none
            sending.result()

    def _send(self) -> None:
        items, self._items, self._size = self._items, [], 0
        self._sending = asyncio.ensure_future(self._call(items))
        self._sending.add_done_callback(self._go_on)

    async def _call(self, items: Sequence[bytes]) -> None:
        generation = await self._emit(self._generation, self._first, items)
        if not generation:
            raise TakenOver
        self._generation = generation
        self._first += len(items)

    def _go_on(self, sent: "asyncio.Task[None]") -> None:
        if sent.cancelled() or sent.exception() is not None:
            return
        self._sending = None
        if self._items:
            self._send()
