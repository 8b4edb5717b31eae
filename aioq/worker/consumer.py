"""Take jobs while there is room for them.

One fetch fills many slots, and the next one is on its way while the last batch runs.  When there
is nothing, the doorbell or the next due time wakes it; nothing polls.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from aioq.broker.broker import Broker
from aioq.broker.doorbell import PATIENCE, Doorbell
from aioq.broker.keys import lane, split_lane
from aioq.broker.per_turn import MOST
from aioq.broker.scripts import Delivery, Fetched
from aioq.broker.weather import Weather
from aioq.core.retry import reconnect_delay
from aioq.observe.outage import Outage
from aioq.worker.identity import Identity


class Slots(Protocol):
    """Where jobs run; the executor."""

    @property
    def room(self) -> int:
        """How many more jobs may start."""
        ...

    def start(self, delivery: Delivery, queue: str) -> None:
        """Run a job."""
        ...

    async def wait_for_room(self) -> None:
        """Return when a job may start."""
        ...


def lanes_of(queues: Sequence[str]) -> list[str]:
    """Return the lanes of some queues: by priority, and by the order of the queues within."""
    return [lane(queue, priority) for priority in range(9, -1, -1) for queue in queues]


class Consumer:
    """Brings work in."""

    def __init__(
        self,
        broker: Broker,
        slots: Slots,
        identity: Identity,
        outage: Outage,
        *,
        queues: Sequence[str],
        keep_ms: int,
        register: Callable[[], Awaitable[None]],
        dropped: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._slots = slots
        self._identity = identity
        self._outage = outage
        self._keep_ms = keep_ms
        # A part of the slots per fetch: the next part is on its way while the last one starts.
        self._most = min(max(slots.room // 4, 50), MOST)
        self._register = register
        self._dropped = dropped
        self._doorbell = Doorbell(broker.topology, broker.keys, queues)
        self._bell: asyncio.Task[str | None] | None = None
        self.lanes: list[str] = lanes_of(queues)
        self._queues = [split_lane(each)[0] for each in self.lanes]

    async def run(self) -> None:
        """Consume until cancelled."""
        failures = 0
        try:
            while True:
                # With a full queue nothing else here would ever notice that it is over.
                await checkpoint_if_cancelled()
                await self._wait_for_room()
                try:
                    fetched = await self.consume()
                except Weather as error:
                    self._outage.turned(error)
                    await asyncio.sleep(reconnect_delay(failures))
                    failures += 1
                    continue
                failures = 0
                self._outage.cleared()
                if not fetched.deliveries and not self._is_due(fetched):
                    await self._wait_for_work(fetched)
        finally:
            if self._bell is not None:
                self._bell.cancel()
            self._doorbell.drop()

    async def consume(self) -> Fetched:
        """Fetch once and start what came.

        Shielded: a fetch that is on its way may have handed out jobs already, and whoever leaves
        before its reply would leave them behind.
        """
        room = min(self._slots.room, self._most)
        fetching = asyncio.ensure_future(
            self._broker.fetch(
                self._identity.name, room=room, keep_ms=self._keep_ms, lanes=self.lanes
            )
        )
        with anyio.CancelScope(shield=True):
            await asyncio.wait({fetching})
        fetched = fetching.result()
        for delivery in fetched.deliveries:
            self._slots.start(delivery, self._queues[delivery.lane])
        for entry in fetched.dropped:
            self._dropped(entry)
        if fetched.now_us < 0:
            # An incarnation that lost its lease never comes back: whoever reaped it has its jobs.
            self._identity.renew()
            await self._register()
        return fetched

    @staticmethod
    def _is_due(fetched: Fetched) -> bool:
        return fetched.now_us < 0 or 0 < fetched.next_ms * 1000 <= fetched.now_us

    async def _wait_for_room(self) -> None:
        """Wait for a slot, and pass on a token that this worker has no room for."""
        while self._slots.room <= 0:
            if self._bell is None:
                await self._slots.wait_for_room()
                return
            room = asyncio.ensure_future(self._slots.wait_for_room())
            await asyncio.wait({room, self._bell}, return_when=asyncio.FIRST_COMPLETED)
            room.cancel()
            if self._slots.room <= 0 and self._bell.done():
                await self._pass_on(self._bell)
                self._bell = None

    async def _pass_on(self, bell: asyncio.Task[str | None]) -> None:
        try:
            queue = bell.result()
            if queue is not None:
                await self._broker.ring(queue)
        except Weather as error:
            self._outage.turned(error)

    async def _wait_for_work(self, fetched: Fetched) -> None:
        """Wait for the doorbell, or until the next delayed job is due."""
        if self._bell is None:
            self._bell = asyncio.create_task(self._doorbell.listen())
            self._bell.add_done_callback(_heard)
        patience = PATIENCE + 5.0
        if fetched.next_ms:
            patience = min((fetched.next_ms * 1000 - fetched.now_us) / 1e6, patience)
        await asyncio.wait({self._bell}, timeout=patience)
        if self._bell.done():
            bell, self._bell = self._bell, None
            try:
                bell.result()
            except Weather as error:
                self._outage.turned(error)
                await asyncio.sleep(reconnect_delay(1))


def _heard(bell: asyncio.Task[str | None]) -> None:
    """Take note of an error that the consumer may be too busy to see."""
    if not bell.cancelled():
        bell.exception()
