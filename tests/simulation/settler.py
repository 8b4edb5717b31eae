"""The outcomes of a simulated worker; the rules are those of `aioq/worker/settler.py`."""

from typing import TYPE_CHECKING

from aioq.broker import scripts
from aioq.broker.broker import DEAD_LETTERS
from aioq.broker.scripts import Delivery, Settlement
from aioq.core.outcome import KEEP_DEAD_MS, Outcome
from tests.simulation.tasks import settlement
from tests.simulation.turns import Lost, Pause, Signal, Turn

if TYPE_CHECKING:
    from tests.simulation.worker import Worker


class Settler:
    """Settles what was collected in a turn, again and again until the server has answered."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._collected: list[Settlement] = []
        self._sending: list[list[Settlement]] = []
        self._incarnation = 0
        self.settled = Signal()

    @property
    def unsettled(self) -> int:
        """How many outcomes the server has not taken yet."""
        return len(self._collected) + sum(map(len, self._sending))

    def held(self) -> list[bytes]:
        """Name the deliveries that have not been settled yet."""
        waiting = [*self._collected, *(word for batch in self._sending for word in batch)]
        return [scripts.name_of(word) for word in waiting]

    def drop(self) -> None:
        """Forget what waits here: the lease was lost, and all of it would be refused."""
        self._incarnation += 1
        self._collected = []

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Note an outcome; it is written with others of this turn."""
        self._collected.append(settlement(delivery, outcome))
        if len(self._collected) == 1:
            self._worker.spawn("settler", self._flush())

    def _flush(self) -> Turn[None]:
        batch, self._collected = self._collected, []
        if not batch:  # dropped
            return
        self._sending.append(batch)
        yield from self._send(batch)
        self._sending.remove(batch)
        self.settled.fire()

    def _send(self, batch: list[Settlement]) -> Turn[None]:
        worker = self._worker
        failures, incarnation = 0, self._incarnation
        call = scripts.settle(
            worker.prefix,
            count=len(batch),
            dead_ms=KEEP_DEAD_MS,
            dead_max=DEAD_LETTERS,
            outcomes=batch,
        )
        while incarnation == self._incarnation:
            try:
                yield from worker.ask(call, batch)
                return
            except Lost:
                yield Pause(worker.reconnect_delay(failures))
                failures += 1
