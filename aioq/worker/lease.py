"""Keep the lease of this worker, from a thread of its own.

While a worker lives, its lease is renewed; if renewals stop, its jobs are given to others.  A
thread with its own connection renews it, because an event loop that a task blocks is no death.
The same call tells the server what the worker is doing (presence) and which queues are served.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from aioq.broker import scripts, sync
from aioq.broker.broker import Broker
from aioq.broker.scripts import Call
from aioq.broker.weather import Weather
from aioq.core.clock import milliseconds
from aioq.core.errors import AioqError
from aioq.worker.identity import Identity

log: logging.Logger = logging.getLogger("aioq.worker")


class LeaseKeeper:
    """Registers the worker, then renews its lease every third of it."""

    def __init__(
        self,
        broker: Broker,
        identity: Identity,
        *,
        lease: float,
        queues: Sequence[str],
        presence: Callable[[], bytes],
    ) -> None:
        self._broker = broker
        self._identity = identity
        self._lease = lease
        self._queues = queues
        self._presence = presence
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="aioq-lease", daemon=True)

    async def register(self, *, patience: float | None = None) -> None:
        """Ask for the lease of a new incarnation.

        Raises:
            BrokerUnavailable: the server stayed away for `patience` seconds.
        """
        await self._broker.persist(self._beat(register=1), patience=patience)

    def start(self) -> None:
        """Start renewing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing; the thread ends by itself."""
        self._stopped.set()

    def _beat(self, *, register: int) -> Call[bool]:
        return scripts.beat(
            self._broker.keys.prefix,
            worker=self._identity.name,
            lease_ms=milliseconds(self._lease),
            register=register,
            presence=self._presence(),
            queues=self._queues,
        )

    def _keep(self) -> None:
        connection: Any = None
        pause = self._lease / 3
        while not self._stopped.wait(pause):
            try:
                if connection is None:
                    connection = sync.dial(self._broker.topology)
                # A lease that was lost is the consumer's to notice, at its next fetch.
                sync.run_on(connection, self._beat(register=0))
                pause = self._lease / 3
            except Weather:  # said once for the whole worker by the consumer
                connection, pause = _closed(connection), min(1.0, self._lease / 10)
            except AioqError:
                log.exception("The lease could not be renewed.")
                connection = _closed(connection)
        _closed(connection)


def _closed(connection: Any) -> None:  # noqa: ANN401 - redis-py's connection
    if connection is not None:
        connection.disconnect()
