"""The connections of one app: a Broker for each running event loop, and one for sync code.

A module-level app therefore works in every test's loop, in Django, and in several calls of
`asyncio.run`; nothing is opened before it is used.
"""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from aioq.broker.broker import Broker
from aioq.broker.keys import Keys
from aioq.broker.sync import SyncBroker
from aioq.broker.topology import Topology, parse
from aioq.core.clock import milliseconds


class Client:
    """Hands out the connections of one app."""

    def __init__(
        self,
        name: str,
        locate: Callable[[], str],
        *,
        enqueue_timeout: float,
        result_expires: float = 3600,
    ) -> None:
        self.keys: Keys = Keys(name)
        self.keep_ms: int = milliseconds(result_expires)
        """How long the end of a job is kept for which nobody has said more."""
        self._locate = locate
        self._enqueue_timeout = enqueue_timeout
        self._brokers: dict[asyncio.AbstractEventLoop, Broker] = {}
        self._sync: SyncBroker | None = None
        self._topology: Topology | None = None
        self._lock = threading.Lock()

    @property
    def topology(self) -> Topology:
        """Where the server is; decided at the first use."""
        with self._lock:
            if self._topology is None:
                self._topology = parse(self._locate(), prefix=self.keys.prefix)
            return self._topology

    def broker(self) -> Broker:
        """Return the Broker of the running event loop."""
        loop = asyncio.get_running_loop()
        broker = self._brokers.get(loop)
        if broker is None:
            for closed in [known for known in self._brokers if known.is_closed()]:
                del self._brokers[closed]
            broker = Broker(self.topology, self.keys, enqueue_timeout=self._enqueue_timeout)
            self._brokers[loop] = broker
        return broker

    def sync(self) -> SyncBroker:
        """Return the broker of sync code."""
        topology = self.topology
        with self._lock:
            if self._sync is None:
                self._sync = SyncBroker(topology, self.keys, enqueue_timeout=self._enqueue_timeout)
            return self._sync

    async def aclose(self) -> None:
        """Close what this event loop and sync code have opened."""
        broker = self._brokers.pop(asyncio.get_running_loop(), None)
        if broker is not None:
            await broker.aclose()
        if self._sync is not None:
            self._sync.close()
            self._sync = None

    @contextmanager
    def elsewhere(self, url: str) -> Generator[None]:
        """Talk to another server for a while, as tests do."""
        before = self._topology, self._brokers, self._sync
        self._topology = parse(url, prefix=self.keys.prefix)
        self._brokers, self._sync = {}, None
        try:
            yield
        finally:
            self._topology, self._brokers, self._sync = before
