"""One pipelined connection: many commands in flight, their replies in order.

redis-py opens it (address, TLS, authentication, database); from then on the bytes are ours,
because a reply must resolve its future without a task switch in between.  A caller that is
cancelled leaves its future behind and nothing else: the reply is still read, so a connection
is never half read.  Anything unexpected drops the connection; nothing is ever resent here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

import redis.asyncio.connection as redis_async
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    RedisError,
    ResponseError,
)

from aioq.broker.resp import INCOMPLETE, Argument, Reply, ReplyError, new_reader, pack
from aioq.broker.topology import Address, Topology
from aioq.broker.weather import LOST, Refused, Weather, judge

CONNECT_TIMEOUT = 5.0
REPLY_TIMEOUT = 10.0
"""Seconds after which a reply counts as lost: a half-open connection must not look idle."""

SECOND_LOOK = 0.05
"""Seconds between the first and the second look at a reply that is late."""

_KINDS: dict[str, Any] = {
    "tcp": redis_async.Connection,
    "tls": redis_async.SSLConnection,
    "unix": redis_async.UnixDomainSocketConnection,
}
OPENING: dict[str, Any] = {
    "protocol": 2,
    "socket_timeout": CONNECT_TIMEOUT,
    "socket_connect_timeout": CONNECT_TIMEOUT,
    "health_check_interval": 0,
}


class Receiver(Protocol):
    """Whoever gets a reply: a future, or what does as one would."""

    def done(self) -> bool:
        """Whether it wants none any more."""
        ...

    def set_result(self, result: Reply, /) -> None:
        """Take the reply."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Take an error in place of it."""
        ...

    def exception(self) -> object:
        """Count the error as looked at."""
        ...


class Connection(asyncio.Protocol):
    """A live connection, made by `dial`."""

    def __init__(
        self,
        opened: Any,  # noqa: ANN401 - redis-py's connection, whose types are unknown
        *,
        on_push: Callable[[list[Reply]], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        timeout: float = REPLY_TIMEOUT,
    ) -> None:
        # The one place that reaches into redis-py: what it has opened is ours from here on.
        self._writer: asyncio.StreamWriter = opened._writer  # noqa: SLF001
        opened._writer = opened._reader = None  # noqa: SLF001 - or its finalizer closes it
        self._transport = cast("asyncio.Transport", self._writer.transport)
        self._reader = new_reader()
        self._on_push = on_push
        self._on_lost = on_lost
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._in_flight: deque[tuple[Receiver, float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._suspect: Receiver | None = None
        self.is_lost: bool = False
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    def call(self, *command: Argument) -> asyncio.Future[Reply]:
        """Send one command; the future gets its reply, or Weather, or what the server says."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send(command, future)
        return future

    def send(self, command: tuple[Argument, ...], receiver: "Receiver") -> None:
        """Send one command; `receiver` gets its reply, or Weather, or what the server says."""
        if self.is_lost:
            receiver.set_exception(Weather("the connection was lost"))
            return
        packed = pack(command)  # may raise; nothing is in flight then
        now = self._loop.time()
        self._in_flight.append((receiver, now))
        if self._watch is None:
            self._watch = self._loop.call_at(now + self._timeout, self._look_at_oldest)
        self._transport.write(packed)

    def drop(self, reason: str = "the connection was closed") -> None:
        """Close at once; whatever is in flight gets Weather."""
        if self.is_lost:
            return
        self.is_lost = True
        if self._watch is not None:
            self._watch.cancel()
        self._transport.abort()
        while self._in_flight:
            future, _ = self._in_flight.popleft()
            if not future.done():
                future.set_exception(Weather(reason))
                future.exception()  # a caller that has gone need not be told
        if self._on_lost is not None:
            self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Resolve the futures of the replies that have arrived (called by the event loop)."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not INCOMPLETE:
                if self._on_push is not None and _is_push(reply):
                    self._on_push(reply)
                else:
                    self._resolve(reply)
        except ConnectionError as error:  # what the reader raises when the bytes are no RESP
            self.drop(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the transport has gone (called by the event loop)."""
        self.drop(f"the connection was lost: {exc}" if exc else "the server closed the connection")

    def _resolve(self, reply: Reply) -> None:
        if not self._in_flight:
            self.drop("the server sent a reply that nobody asked for")
            return
        future, _ = self._in_flight.popleft()
        if future.done():
            return
        if isinstance(reply, ReplyError):
            future.set_exception(reply)
            future.exception()
        else:
            future.set_result(reply)

    def _look_at_oldest(self) -> None:
        """One timer for all commands: the oldest in flight says whether the server answers."""
        self._watch = None
        if not self._in_flight:
            return
        oldest, sent = self._in_flight[0]
        now = self._loop.time()
        if now < sent + self._timeout:
            self._watch = self._loop.call_at(sent + self._timeout, self._look_at_oldest)
        elif oldest is not self._suspect:
            # A task may have blocked the loop meanwhile: the reply may be here, and unread.
            self._suspect = oldest
            self._watch = self._loop.call_at(now + SECOND_LOOK, self._look_at_oldest)
        else:
            self.drop(f"the server did not answer within {self._timeout:g} s")


def _is_push(reply: Reply) -> bool:
    return type(reply) is list and reply[:1] == [b"message"]


async def dial(
    topology: Topology,
    *,
    on_push: Callable[[list[Reply]], None] | None = None,
    on_lost: Callable[[], None] | None = None,
    timeout: float = REPLY_TIMEOUT,
) -> Connection:
    """Find the server and connect.

    Raises:
        Weather: it cannot be reached now.
        Refused: it does not let us in.
    """
    address = await _locate(topology)
    opened = await _open(address)
    return Connection(opened, on_push=on_push, on_lost=on_lost, timeout=timeout)


async def _locate(topology: Topology) -> Address:
    if not topology.question:
        return topology.seeds[0]
    failures: list[str] = []
    for seed in topology.seeds:
        try:
            asked = Connection(await _open(seed), timeout=CONNECT_TIMEOUT)
            try:
                found = topology.answer(await asked.call(*topology.question))
            finally:
                asked.drop()
        except ReplyError as error:
            failures.append(f"{seed}: {error}")
        except Weather as error:
            failures.append(str(error))
        else:
            if found is not None:
                return found
            failures.append(f"{seed} does not know")
    message = f"no address for {topology.url}: {'; '.join(failures)}"
    raise Weather(message)


async def _open(address: Address) -> Any:  # noqa: ANN401 - redis-py's connection
    """Open a connection, or leave none behind.

    redis-py swallows a cancellation that arrives while it connects, so it is never cancelled
    there: it ends in peace, and what it has opened for nobody is closed.
    """
    opening = asyncio.ensure_future(_connect(address))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unwanted)
        raise


def _close_unwanted(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        Connection(opening.result()).drop()


async def _connect(address: Address) -> Any:  # noqa: ANN401 - redis-py's connection
    arguments = {**address.arguments, **OPENING, "retry": Retry(NoBackoff(), 0)}
    opened = _KINDS[address.kind](**arguments)
    try:
        await opened.connect()
    # RuntimeError is what uvloop raises for a transport that was closed before the greeting.
    except (RedisError, RuntimeError, *LOST) as error:
        with suppress(RedisError, OSError):
            await opened.disconnect(nowait=True)
        raise not_opened(address, error) from None
    return opened


def not_opened(address: Address, error: BaseException) -> Exception:
    """Turn what redis-py raised while connecting into what to raise."""
    # For a Unix socket it wraps what the server said in a ConnectionError.
    cause = error.__cause__ if isinstance(error.__cause__, RedisError) else error
    reason = str(cause).strip().splitlines()[0].rstrip(".") if str(cause) else repr(cause)
    if isinstance(cause, (AuthenticationError, AuthorizationError)):
        return Refused(f"{address} refused: {reason}; check the user and password in the URL")
    if isinstance(cause, ResponseError) and not isinstance(
        judge(ReplyError(with_code(cause))), Weather
    ):
        database = address.arguments.get("db", 0)
        return Refused(f"{address}, database {database}, refused: {reason}; check the URL")
    return Weather(f"cannot reach {address}: {reason}")


def with_code(error: ResponseError) -> str:
    """Give back the code that redis-py has turned into a class."""
    code = _CODES.get(type(error).__name__)
    text = str(error)
    return text if code is None or text.startswith(code) else f"{code} {text}"


_CODES = {
    "AskError": "ASK",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
