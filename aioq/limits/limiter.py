"""A rate limit to use by itself, in tasks and anywhere else.

The tokens are taken by one script on the server, so the limit holds whoever else takes of it.
"""

from collections.abc import Coroutine, Generator
from functools import partial
from types import TracebackType
from typing import Any, cast

from aioq.broker.broker import Broker
from aioq.broker.client import Client
from aioq.broker.tickets import Line
from aioq.core import bucket, holds
from aioq.core.bucket import TokenBucket
from aioq.core.errors import ConfigurationError
from aioq.core.holds import Limit
from aioq.limits.limits import Limits, check_name


class Limiter:
    """A rate limit to use by itself: a bucket on the server, with a line before it.

    Whoever waits is served in the order of arrival, across processes.  Tasks whose
    `rate_limit_name` is the limiter's name take from the same bucket; they and the line take turns.
    """

    def __init__(self, client: Client, limits: Limits, limit: Limit, key: str) -> None:
        self.name: str = limit.name
        self._client = client
        self._limits = limits
        self._limit = limit
        self._bucket = cast("TokenBucket", limit.value)
        self._key = key
        self._lines: dict[Broker, Line] = {}

    def __repr__(self) -> str:
        return f"<Limiter {self.name}>"

    def acquire(self, cost: int | None = None) -> "Acquisition":
        """Wait for tokens: `await limiter.acquire()`, or `async with limiter.acquire(): ...`.

        The tokens are taken when the wait ends; nothing is given back.  Whoever is cancelled
        leaves the line at once.

        Args:
            cost: tokens to take; default: the bucket's own cost.

        Raises:
            ConfigurationError: more than the burst, which can never be there.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        return Acquisition(self, self._price(cost))

    async def try_acquire(self, cost: int | None = None) -> bool:
        """Take tokens if they are there and nobody waits for them; never wait.

        Raises:
            ConfigurationError: more than the burst, which can never be there.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        price = self._price(cost)
        return await self.line().try_acquire(price)

    def line(self) -> Line:
        """Return the line in which this event loop waits."""
        broker = self._client.broker()
        if broker not in self._lines:
            for closed in [known for known, line in self._lines.items() if line.is_closed]:
                del self._lines[closed]
            self._lines[broker] = Line(
                broker,
                f"{holds.encode_name(self.name)}:{self._key}",
                self._limit.numbers,
                declare=partial(self._limits.declare_one, self._limit, broker),
            )
        return self._lines[broker]

    def _price(self, cost: int | None) -> int:
        given = cast("int", self._bucket.cost) if cost is None else cost
        burst = cast("int", self._bucket.burst)
        is_whole = isinstance(cast("object", given), int) and not isinstance(given, bool)
        if not is_whole or not 1 <= given <= burst:
            message = (
                f"limiter {self.name}: cost={cost!r} is wrong: it is a whole number from 1 to the "
                f"burst of {burst:,}, or it could never be there"
            )
            raise ConfigurationError(message)
        return given


class Acquisition(Coroutine[Any, Any, None]):
    """Tokens to wait for: a coroutine, so `create_task` takes it, and an async context manager."""

    __slots__ = ("_cost", "_limiter", "_running")

    def __init__(self, limiter: Limiter, cost: int) -> None:
        self._limiter = limiter
        self._cost = cost
        self._running: Coroutine[Any, Any, None] | None = None

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def __aenter__(self) -> None:
        await self._wait()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: a token that was taken is used up."""

    def send(self, value: None) -> Any:  # noqa: ANN401 - what an event loop is given
        """Go on; for event loops."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:  # noqa: ANN401 - as any coroutine's
        """Go on with an error; for event loops."""
        return self._begun().throw(*error)

    def close(self) -> None:
        """Give up; for event loops."""
        if self._running is not None:
            self._running.close()

    def _begun(self) -> Coroutine[Any, Any, None]:
        # Not before it is waited for: a coroutine that nobody awaits warns.
        self._running = self._running or self._wait()
        return self._running

    async def _wait(self) -> None:
        await self._limiter.line().acquire(self._cost)


def make_limiter(
    client: Client, limits: Limits, name: str, given: TokenBucket | str, key: object
) -> Limiter:
    """Make what `app.limiter` returns.

    Raises:
        ConfigurationError: the name or the bucket is none, or the code knows the name by others.
    """
    check_name(name, where="app.limiter")
    value = bucket.read_rate(given, where=f"limiter {name}")
    if value is None or value.key is not None or callable(value.cost):
        message = (
            f"limiter {name}: {given!r} is wrong: it is a TokenBucket without functions, or a rate "
            'such as "10/m"; give a key to app.limiter(..., key=...), a cost to acquire(cost=...)'
        )
        raise ConfigurationError(message)
    limit = Limit(name, value)
    limits.add([limit], owner=f"app.limiter({name!r}, {given!r})")
    return Limiter(client, limits, limit, holds.encode_key(key))
