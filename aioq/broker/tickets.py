"""Waiting in the line of a bucket: the client's side of `limits/acquire.lua`.

Everybody who waits has a ticket on the server, so the order holds across processes.  What asks is
one task for each bucket of an event loop: when somebody comes or goes, when the first ticket here
has its turn by what the server has said, and once a second, to show that its client is alive and
to hear of a limit that was changed.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence

from aioq.broker import limits
from aioq.broker.broker import Broker
from aioq.broker.limits import Acquired, Ticket
from aioq.broker.per_turn import MOST

ALIVE = 1.0
"""Seconds between two signs of life; half of what the server allows."""
_SOON, _LATER = 0.002, 0.25
"""Seconds until somebody is asked for again who has not come for his token."""


class Line:
    """Those of this event loop who wait at one bucket.

    Args:
        broker: the server.
        limit: `<name>:<key>` of the bucket.
        numbers: what it is, where the server knows nothing of it.
        declare: tells the server of the limit; called before anything else is asked.
    """

    def __init__(
        self, broker: Broker, limit: str, numbers: str, *, declare: Callable[[], Awaitable[None]]
    ) -> None:
        self._broker = broker
        self._limit = limit
        self._numbers = numbers
        self._declare = declare
        self._is_declared = False
        self._client = secrets.token_hex(6)
        self._number = self._nonce = 0
        self._waiting: dict[int, tuple[int, asyncio.Future[None]]] = {}
        self._news: list[Ticket] = []
        self._has_news = asyncio.Event()
        self._has_joined = False
        self._asker: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._one_call = asyncio.Lock()  # only the last call's answer is remembered for a resend

    @property
    def is_closed(self) -> bool:
        """Whether its event loop has ended."""
        return self._loop.is_closed()

    async def acquire(self, cost: int) -> None:
        """Return when it is this caller's turn, and the tokens are taken.

        Raises:
            BrokerUnavailable: the server stayed away for `enqueue_timeout`.
        """
        self._number += 1
        number, turn = self._number, self._loop.create_future()
        self._waiting[number] = cost, turn
        self._tell(Ticket(number, cost))
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(number, None) is not None:
                self._tell(Ticket(-number, cost))
            raise

    async def try_acquire(self, cost: int) -> bool:
        """Take tokens if nobody waits and they are there; False: nothing was taken."""
        self._number += 1
        number = self._number
        acquired = await self._ask([Ticket(number, cost)], waits=False)
        self._serve(acquired)
        return number in acquired.granted

    def _tell(self, ticket: Ticket) -> None:
        self._news.append(ticket)
        self._has_news.set()
        if self._asker is None:
            self._asker = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Ask as long as anybody waits."""
        error: BaseException = asyncio.CancelledError()
        try:
            await self._ask_until_all_are_served()
        except Exception as failure:  # noqa: BLE001 - handed on to whoever waits
            error = failure
        finally:
            self._asker, self._has_joined = None, False
            self._news = []
            for _, turn in self._waiting.values():
                if not turn.done() and isinstance(error, asyncio.CancelledError):
                    turn.cancel()
                elif not turn.done():
                    turn.set_exception(error)
            self._waiting = {}

    async def _ask_until_all_are_served(self) -> None:
        pause = _SOON
        while self._waiting or self._news:
            self._has_news.clear()
            news, self._news = self._news[:MOST], self._news[MOST:]
            acquired = await self._ask(news, waits=True)
            if self._has_joined and not acquired.known:
                rest = [Ticket(number, cost) for number, (cost, _) in self._waiting.items()]
                self._news = rest + [each for each in self._news if each.number < 0]
            self._has_joined = True
            self._serve(acquired)
            if acquired.granted or acquired.wait_us:
                pause = _SOON
            if self._waiting and not self._news:
                await self._wait_for_news(max(acquired.wait_us / 1e6, pause))
                pause = min(pause * 2, _LATER)

    async def _wait_for_news(self, seconds: float) -> None:
        timer = self._loop.call_later(min(seconds, ALIVE), self._has_news.set)
        try:
            await self._has_news.wait()
        finally:
            timer.cancel()

    async def _ask(self, tickets: Sequence[Ticket], *, waits: bool) -> Acquired:
        async with self._one_call:
            if not self._is_declared:
                await self._declare()
                self._is_declared = True
            self._nonce += 1
            call = limits.acquire(
                self._broker.keys.prefix,
                limit=self._limit,
                numbers=self._numbers,
                client=self._client,
                nonce=self._nonce,
                waits=waits,
                tickets=tickets,
            )
            return await self._broker.persist(call, patience=self._broker.enqueue_timeout)

    def _serve(self, acquired: Acquired) -> None:
        for number in acquired.granted:
            cost_and_turn = self._waiting.pop(number, None)
            if cost_and_turn is not None and not cost_and_turn[1].done():
                cost_and_turn[1].set_result(None)
