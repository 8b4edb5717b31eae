"""Hear what is asked of this worker while jobs run: one subscription.

A push may be lost with its connection.  That delays an order and loses none: what was revoked is
marked in the job's record, and every beat of the lease brings the revokes of this worker again.
"""

import asyncio
from collections.abc import Callable

from aioq.broker.broker import Broker
from aioq.broker.connection import Connection, dial
from aioq.broker.resp import Reply, ReplyError
from aioq.broker.scripts import parse_revoke
from aioq.broker.weather import Weather, judge
from aioq.core.retry import reconnect_delay
from aioq.observe.outage import Outage
from aioq.worker.identity import Identity

PING = 60.0
"""Seconds between two looks whether the subscription is still there."""
LATER = (0.1, 0.5, 2.0)
"""Seconds after which an order for an unknown job is tried again: its delivery may be on the way,
for the server tells a worker of a revoke as soon as it has handed the job out."""

Revoke = Callable[[bytes, bytes | None], bool]
"""Cancels a running delivery, by job id and entry id; False: it does not run here."""


class Listener:
    """Passes revokes on to the running jobs."""

    def __init__(
        self, broker: Broker, identity: Identity, outage: Outage, *, revoke: Revoke
    ) -> None:
        self._broker = broker
        self._identity = identity
        self._outage = outage
        self._revoke = revoke
        self._loop = asyncio.get_running_loop()
        self._subscription: Connection | None = None
        self._retries: set[asyncio.TimerHandle] = set()
        self.on_news: Callable[[], None] | None = None
        """Told that schedules have changed, or may have while nobody could be told."""

    async def run(self) -> None:
        """Listen until cancelled."""
        failures = 0
        try:
            while True:
                try:
                    await self._hold()
                    failures = 0
                except Weather as error:
                    self._outage.turned(error)
                await asyncio.sleep(reconnect_delay(failures))
                failures += 1
        finally:
            self.renew()
            for each in self._retries:
                each.cancel()

    def renew(self) -> None:
        """Listen under the present name."""
        if self._subscription is not None:
            self._subscription.drop()

    def revoked(self, orders: list[tuple[bytes, bytes]]) -> None:
        """Cancel deliveries of this worker that a beat has named."""
        for entry_id, job_id in orders:
            self._revoke(job_id, entry_id)

    async def _hold(self) -> None:
        """Subscribe, and return when the subscription is lost."""
        lost = asyncio.Event()
        subscription = await dial(self._broker.topology, on_push=self._hear, on_lost=lost.set)
        self._subscription = subscription
        try:
            keys = self._broker.keys
            await subscription.call("SUBSCRIBE", keys.news)
            await subscription.call("SUBSCRIBE", keys.orders(self._identity.name))
            self._tell_news()
            while not lost.is_set():
                try:
                    async with asyncio.timeout(PING):
                        await lost.wait()
                except TimeoutError:
                    await subscription.call("PING")
        except ReplyError as error:
            raise judge(error) from None
        finally:
            subscription.drop()

    def _hear(self, push: list[Reply]) -> None:
        if push[1] == self._broker.keys.news.encode():
            self._tell_news()
            return
        entry_id, job_id = parse_revoke(push[2])
        self._order(entry_id, job_id, LATER)

    def _tell_news(self) -> None:
        if self.on_news is not None:
            self.on_news()

    def _order(self, entry_id: bytes, job_id: bytes, later: tuple[float, ...]) -> None:
        if self._revoke(job_id, entry_id) or not later:
            return

        def again() -> None:
            self._retries.discard(timer)
            self._order(entry_id, job_id, later[1:])

        timer = self._loop.call_later(later[0], again)
        self._retries.add(timer)
