"""How a simulated worker gets its jobs; the rules are those of `aioq/worker/consumer.py`."""

from typing import TYPE_CHECKING

from aioq.broker import scripts
from aioq.broker.doorbell import PATIENCE
from aioq.broker.keys import lane, suspects
from aioq.broker.scripts import Delivery, Fetched
from tests.simulation.keeper import PER_CALL
from tests.simulation.tasks import KEEP_MS
from tests.simulation.turns import Hear, Listen, Lost, Pause, Service, Signal, Turn

if TYPE_CHECKING:
    from tests.simulation.worker import Worker


class Consumer:
    """Fetches while there is room."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._epoch = 0
        self._connection = worker.world.host.restarts
        self._has_lost_reply = False
        self._suspect: Delivery | None = None
        self._suspect_ended = Signal()
        self._bell: Service | None = None
        self._token: str | None = None
        self._has_lost_bell = False
        self._rang = Signal()
        queues = worker.post.queues
        self._common_lanes = [lane(queue, level) for level in range(9, -1, -1) for queue in queues]
        self._lanes = [*map(suspects, queues), *self._common_lanes]
        self.has_stopped = False
        self.stopped = Signal()

    def run(self) -> Turn[None]:
        """Consume until the worker drains."""
        failures = 0
        while not self._worker.is_draining:
            yield from self._wait_for_room()
            try:
                if self._has_lost_reply:
                    yield from self._recover()
                fetched = yield from self._consume()
            except Lost:
                self._has_lost_reply = True
                yield Pause(self._worker.reconnect_delay(failures))
                failures += 1
                continue
            failures = 0
            if self._has_reconnected():
                continue
            if not fetched.deliveries and not _is_due(fetched):
                yield from self._wait_for_work(fetched)
        self.has_stopped = True
        self.stopped.fire()

    def has_ended(self, delivery: Delivery) -> None:
        """Hear that a job has ended."""
        if delivery is self._suspect:
            self._suspect = None
            self._suspect_ended.fire()

    def _consume(self) -> Turn[Fetched]:
        worker = self._worker
        name, epoch, room = worker.incarnation, self._epoch, worker.executor.room
        lanes = self._lanes if self._suspect is None else self._common_lanes
        if room <= 0 or worker.is_draining:
            return Fetched(0, 0, [], passed=False, deliveries=[])
        call = scripts.fetch(
            worker.prefix, worker=name, epoch=epoch, room=room, keep_ms=KEEP_MS, lanes=lanes
        )
        fetched = yield from worker.ask(call, name, lanes)
        if worker.incarnation != name:  # it was reaped meanwhile: others have what came
            return fetched._replace(deliveries=[])
        for delivery in fetched.deliveries:
            if lanes[delivery.lane % len(lanes)].endswith(":z"):
                self._suspect = delivery
            worker.executor.start(delivery, is_gated=delivery.lane >= len(lanes))
        if fetched.now_us < 0:
            self._epoch, self._has_lost_reply = 0, False
            yield from worker.keeper.lost(name)
        return fetched

    def _has_reconnected(self) -> bool:
        """Tell whether the server was away: it may have been set back."""
        before, self._connection = self._connection, self._worker.world.host.restarts
        self._has_lost_reply |= before != self._connection
        return self._has_lost_reply

    def _recover(self) -> Turn[None]:
        """Give back what a lost reply had handed out to nobody."""
        worker = self._worker
        known = [*worker.executor.held(), *worker.settler.held()]
        name, given = worker.incarnation, PER_CALL
        while given == PER_CALL:
            self._epoch += 1
            call = scripts.recover(
                worker.prefix, worker=name, epoch=self._epoch, most=PER_CALL, known=known
            )
            given = yield from worker.ask(call, name, known)
        self._has_lost_reply = False

    def _wait_for_room(self) -> Turn[None]:
        worker = self._worker
        while worker.executor.room <= 0 and not worker.is_draining:
            yield Hear((worker.executor.ended, self._rang, worker.drained))
            if worker.executor.room <= 0 and self._bell is not None and self._bell.is_over:
                self._bell = None
                if self._token is not None:
                    yield from self._pass_on(self._token)

    def _pass_on(self, queue: str) -> Turn[None]:
        try:
            yield from self._worker.ask(scripts.ring(self._worker.prefix, queue=queue))
        except Lost:
            return

    def _wait_for_work(self, fetched: Fetched) -> Turn[None]:
        """Wait for the doorbell, or until the next delayed job is due."""
        worker = self._worker
        if self._bell is None:
            self._bell = worker.spawn("bell", self._listen())
        patience_ms = PATIENCE * 1000 + 5_000
        if fetched.next_ms:
            patience_ms = min(fetched.next_ms - fetched.now_us // 1000, patience_ms)
        signals = (self._rang, worker.drained)
        if self._suspect is not None:  # when it has ended, the next suspect may start
            signals = (*signals, self._suspect_ended)
        if not self._bell.is_over and not worker.is_draining:
            yield Hear(signals, patience_ms)
        if self._bell.is_over:
            self._bell = None
            if self._has_lost_bell:
                yield Pause(worker.reconnect_delay(1))

    def _listen(self) -> Turn[None]:
        self._token, self._has_lost_bell = None, False
        try:
            self._token = yield Listen(self._worker.post.queues, PATIENCE * 1000)
        except Lost:
            self._has_lost_bell = True
        self._rang.fire()


def _is_due(fetched: Fetched) -> bool:
    return fetched.now_us < 0 or 0 < fetched.next_ms * 1000 <= fetched.now_us
