"""The same calls from plain sync code, on redis-py's own sync connection.

One connection per process, one caller at a time; a forked child opens its own.
"""

import os
import secrets
import threading
import time
from typing import Any, TypeVar

import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import (
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from aioq.broker import scripts
from aioq.broker.connection import OPENING, not_opened, with_code
from aioq.broker.keys import Keys
from aioq.broker.resp import Reply, ReplyError
from aioq.broker.scripts import Call, End
from aioq.broker.topology import Address, Topology
from aioq.broker.weather import Weather, judge
from aioq.core.errors import BrokerUnavailable
from aioq.core.retry import reconnect_delay

T = TypeVar("T")

_KINDS: dict[str, Any] = {
    "tcp": redis.connection.Connection,
    "tls": redis.connection.SSLConnection,
    "unix": redis.connection.UnixDomainSocketConnection,
}


class SyncBroker:
    """The server, as seen from sync code."""

    def __init__(self, topology: Topology, keys: Keys, *, enqueue_timeout: float) -> None:
        self.topology = topology
        self.keys = keys
        self.enqueue_timeout = enqueue_timeout
        self._client = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._owner = 0

    def run(self, call: Call[T]) -> T:
        """Run a script; one attempt."""
        with self._lock:
            connection = self._connected()
            try:
                reply = _send(connection, call)
            except ReplyError as error:
                judged = judge(error, script=call.script.name)
                if isinstance(judged, Weather):
                    self._disconnect()
                raise judged from None
            except BaseException:  # also KeyboardInterrupt: a reply may be half read
                self._disconnect()
                raise
        return call.parse(reply)

    def persist(self, call: Call[T], *, patience: float | None = None) -> T:
        """Run a script through weather; see `Broker.persist`."""
        seconds = self.enqueue_timeout if patience is None else patience
        deadline = time.monotonic() + seconds
        failures = 0
        while True:
            try:
                return self.run(call)
            except Weather as weather:
                pause = reconnect_delay(failures)
                failures += 1
                if time.monotonic() + pause >= deadline:
                    message = f"{weather} (tried for {seconds:g} s)"
                    raise BrokerUnavailable(message) from None
            time.sleep(pause)

    def ask(self, job_id: str) -> End:
        """Return the end of a job as far as it has come."""
        prefix = self.keys.prefix
        return self.persist(scripts.wait(prefix, client="", job_ids=(job_id,)))[0]

    def wait(self, job_id: str, timeout: float | None) -> End:
        """Return the end of a job when it has come.

        Raises:
            TimeoutError: it had not come after `timeout` seconds.
        """
        call = scripts.wait(self.keys.prefix, client=self._client, job_ids=(job_id,))
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                subscription = _open(_locate(self.topology))
            except Weather:
                subscription = None
            try:
                if subscription is not None:
                    _subscribe(subscription, self.keys.channel(self._client))
                while (end := self.persist(call)[0]).state == "-":
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        raise TimeoutError(f"job {job_id} had not ended after {timeout:g} s")
                    if not _hear(subscription, min(5.0, 5.0 if left is None else left)):
                        break
                else:
                    return end
            finally:
                if subscription is not None:
                    subscription.disconnect()

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        with self._lock:
            self._disconnect()

    def _connected(self) -> Any:  # noqa: ANN401 - redis-py's connection
        if self._connection is None or self._owner != os.getpid():
            self._connection = _open(_locate(self.topology))
            self._owner = os.getpid()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None and self._owner == os.getpid():
            self._connection.disconnect()
        self._connection = None


def dial(topology: Topology, *, timeout: float | None = None) -> Any:  # noqa: ANN401 - redis-py's
    """Open a sync connection to the server, for a thread that needs its own.

    Args:
        topology: where the server is.
        timeout: seconds that connecting, and each reply, may take; default: 5.
    """
    return _open(_locate(topology), timeout)


def run_on(connection: Any, call: Call[T]) -> T:  # noqa: ANN401 - redis-py's connection
    """Run a script on a connection of one's own; anything raised means: drop it."""
    try:
        return call.parse(_send(connection, call))
    except ReplyError as error:
        raise judge(error, script=call.script.name) from None


def _send(connection: Any, call: Call[Any]) -> Reply:  # noqa: ANN401 - redis-py's connection
    try:
        return _ask(connection, *call.command)
    except ReplyError as error:
        if error.code != "NOSCRIPT":
            raise
    return _ask(connection, *call.full_command)


def _ask(connection: Any, *command: Any) -> Reply:  # noqa: ANN401 - redis-py's connection
    try:
        connection.send_command(*command, check_health=False)
        return connection.read_response(disable_decoding=True)
    except ResponseError as error:
        raise ReplyError(with_code(error)) from None
    except (RedisError, OSError) as error:
        raise Weather(str(error)) from None


def _subscribe(subscription: Any, channel: str) -> None:  # noqa: ANN401 - redis-py's connection
    try:
        _ask(subscription, "SUBSCRIBE", channel)
    except ReplyError as error:
        raise judge(error) from None


def _hear(subscription: Any, seconds: float) -> bool:  # noqa: ANN401 - redis-py's connection
    """Wait for a push; False: the subscription is lost."""
    if subscription is None:
        time.sleep(min(seconds, 0.5))
        return False
    try:
        if subscription.can_read(timeout=seconds):
            subscription.read_response(disable_decoding=True)
    except (RedisError, OSError):
        return False
    return True


def _locate(topology: Topology) -> Address:
    if not topology.question:
        return topology.seeds[0]
    failures: list[str] = []
    for seed in topology.seeds:
        try:
            connection = _open(seed)
            try:
                found = topology.answer(_ask(connection, *topology.question))
            finally:
                connection.disconnect()
        except (Weather, ReplyError) as error:
            failures.append(str(error))
        else:
            if found is not None:
                return found
    message = f"no address for {topology.url}: {'; '.join(failures)}"
    raise Weather(message)


def _open(address: Address, timeout: float | None = None) -> Any:  # noqa: ANN401 - redis-py's
    arguments = {**address.arguments, **OPENING, "retry": Retry(NoBackoff(), 0)}
    if timeout is not None:
        arguments |= {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    connection = _KINDS[address.kind](**arguments)
    try:
        connection.connect()
    except (RedisError, OSError) as error:
        raise not_opened(address, error) from None
    return connection
