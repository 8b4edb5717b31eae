"""Take jobs while there is room for them.

One fetch fills many slots, and the next one is on its way while the last batch runs.  When there
is nothing, the doorbell or the next due time wakes it; nothing polls.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from aioq.broker.broker import PER_CALL, Broker
from aioq.broker.doorbell import PATIENCE, Doorbell
from aioq.broker.per_turn import MOST
from aioq.broker.scripts import Delivery, Fetched
from aioq.broker.weather import Weather
from aioq.core.retry import reconnect_delay
from aioq.observe.outage import Outage
from aioq.worker.identity import Identity
from aioq.worker.lanes import Lanes

log: logging.Logger = logging.getLogger("aioq.worker")


class Slots(Protocol):
    """Where jobs run; the executor."""

    @property
    def room(self) -> int:
        """How many more jobs may start."""
        ...

    def start(self, delivery: Delivery, queue: str, *, gated: bool) -> None:
        """Run a job; `gated`: it has passed the gates of its limits."""
        ...

    def held(self) -> list[bytes]:
        """Name the deliveries that run."""
        ...

    async def wait_for_room(self) -> None:
        """Return when a job may start."""
        ...

    on_ended: Callable[[Delivery], None] | None
    """Told when a job ends."""
    suspect: Delivery | None
    """The suspect that runs; it shares its run with no other job."""


class Ledger(Protocol):
    """Where the outcomes wait for the server; the settler."""

    @property
    def room(self) -> int:
        """How many more outcomes may wait."""
        ...

    def held(self) -> list[bytes]:
        """Name the deliveries whose outcomes wait."""
        ...

    async def relieved(self) -> None:
        """Return when there is room."""
        ...


class Consumer:
    """Brings work in."""

    def __init__(
        self,
        broker: Broker,
        slots: Slots,
        ledger: Ledger,
        identity: Identity,
        outage: Outage,
        *,
        lanes: Lanes,
        keep_ms: int,
        lost: Callable[[str], Awaitable[None]],
    ) -> None:
        self._broker = broker
        self._slots = slots
        self._ledger = ledger
        self._identity = identity
        self._outage = outage
        self._keep_ms = keep_ms
        # A part of the slots per fetch: the next part is on its way while the last one starts.
        self._most = min(max(slots.room // 4, 50), MOST)
        self._lost = lost
        self._epoch = 0
        self._connection = broker.connection
        self._has_lost_reply = False
        self.is_fetching: bool = False
        """Whether jobs may have been handed out that have not started yet."""
        self._suspect: Delivery | None = None
        self._suspect_ended = asyncio.Event()
        self._doorbell = Doorbell(broker.topology, broker.keys, lanes.queues)
        self._bell: asyncio.Task[str | None] | None = None
        self._lanes = lanes

    async def run(self) -> None:
        """Consume until cancelled."""
        failures = 0
        self._connection = self._broker.connection
        try:
            while True:
                # With a full queue nothing else here would ever notice that it is over.
                await checkpoint_if_cancelled()
                await self._wait_for_room()
                try:
                    if self._has_lost_reply:
                        await self._recover()
                    fetched = await self.consume()
                except Weather as error:
                    self._has_lost_reply = True
                    self._outage.turned(error)
                    await asyncio.sleep(reconnect_delay(failures))
                    failures += 1
                    continue
                failures = 0
                self._outage.cleared()
                if self._has_reconnected():
                    continue
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
        name = self._identity.name
        lanes = self._lanes.order(with_suspects=self._suspect is None)
        fetching = asyncio.ensure_future(
            self._broker.fetch(
                name, epoch=self._epoch, room=room, keep_ms=self._keep_ms, lanes=lanes
            )
        )
        self.is_fetching = True
        with anyio.CancelScope(shield=True):
            await asyncio.wait({fetching})
        self.is_fetching = False
        fetched = fetching.result()
        if self._identity.name != name:  # it was reaped meanwhile: others have what came
            return fetched._replace(deliveries=[])
        self._lanes.brought(fetched)
        count = len(lanes)
        for delivery in fetched.deliveries:
            queue, _, level = lanes[delivery.lane % count].rpartition(":")
            if level == "z":
                self._watch(delivery)
            self._slots.start(delivery, queue, gated=delivery.lane >= count)
        for entry in fetched.dropped:
            log.error("Removed an entry that is no job of ours, or was replaced: %s.", entry)
        if fetched.now_us < 0:
            self._epoch, self._has_lost_reply = 0, False
            await self._lost(name)
        return fetched

    def _has_reconnected(self) -> bool:
        """Tell whether the connection is another one, and note that there is something to recover.

        The server may have been set back, by a power cut or a failover: then it takes jobs for
        running here whose outcomes it had taken already.
        """
        before, self._connection = self._connection, self._broker.connection
        self._has_lost_reply |= before is not self._connection
        return self._has_lost_reply

    async def _recover(self) -> None:
        """Give back what a lost reply had handed out to nobody.

        The new epoch comes first: a call that is still on its way, in some buffer of a connection
        that we hold for dead, is refused from here on.
        """
        known = [*self._slots.held(), *self._ledger.held()]
        given, total = PER_CALL, 0
        while given == PER_CALL:
            self._epoch += 1
            given = await self._broker.recover(self._identity.name, epoch=self._epoch, known=known)
            total += given
        self._has_lost_reply = False
        if total:
            log.warning("Gave back %d jobs whose delivery was lost on its way.", total)

    def _watch(self, suspect: Delivery) -> None:
        """Take no second suspect until this one has ended, so that a crash tells whose it is."""
        self._suspect = suspect
        self._slots.suspect = suspect
        self._suspect_ended.clear()
        self._slots.on_ended = self._ended

    def _ended(self, delivery: Delivery) -> None:
        if delivery is self._suspect:
            self._suspect = self._slots.suspect = self._slots.on_ended = None
            self._suspect_ended.set()

    @staticmethod
    def _is_due(fetched: Fetched) -> bool:
        return fetched.now_us < 0 or 0 < fetched.next_ms * 1000 <= fetched.now_us

    async def _wait_for_room(self) -> None:
        """Wait for a slot, and pass on a token that this worker has no room for."""
        if self._ledger.room <= 0:
            await self._ledger.relieved()
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
        if self._suspect is None:
            await asyncio.wait({self._bell}, timeout=patience)
        else:  # when it has ended, the next suspect may start
            ended = asyncio.ensure_future(self._suspect_ended.wait())
            either = asyncio.FIRST_COMPLETED
            await asyncio.wait({self._bell, ended}, timeout=patience, return_when=either)
            ended.cancel()
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
