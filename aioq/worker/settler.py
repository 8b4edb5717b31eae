"""Write the last word on each delivery, many per call.

The executor decides, this writes.  What has been decided is kept until the server has taken it:
while the server is away the outcomes wait here, and are sent when it is back.  Sending one twice
does no harm, because the script recognises a delivery that it has settled.  A word that the server
refuses, since another worker has the job, is counted and logged, and never said again.
"""

import asyncio
import logging

from aioq.broker.broker import Broker
from aioq.broker.per_turn import MOST
from aioq.broker.resp import ReplyError
from aioq.broker.scripts import Delivery, Settlement, name_of
from aioq.broker.weather import Weather
from aioq.core import codec
from aioq.core.errors import BrokerUnavailable
from aioq.core.outcome import (
    KEEP_DEAD_MS,
    Buried,
    Completed,
    GivenBack,
    Outcome,
    Parked,
    Retried,
    Suspended,
    Unserved,
)
from aioq.core.retry import reconnect_delay
from aioq.observe.outage import Outage

log: logging.Logger = logging.getLogger("aioq.worker")


class Settler:
    """Collects outcomes per turn of the event loop and settles them."""

    def __init__(self, broker: Broker, outage: Outage, *, most: int) -> None:
        self._broker = broker
        self._outage = outage
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._collected: list[Settlement] = []
        self._sending: dict[asyncio.Task[None], list[Settlement]] = {}
        self._incarnation = 0
        self.unsettled: int = 0
        """Outcomes that the server has not taken yet."""
        self.done: int = 0
        """Outcomes that it has taken."""
        self.refused: int = 0
        """Outcomes that it has refused: the job was taken over, or is gone."""

    @property
    def room(self) -> int:
        """How many more outcomes may wait here; a worker without room takes no jobs."""
        return self._most - self.unsettled

    def held(self) -> list[bytes]:
        """Name the deliveries that have not been settled yet."""
        return [
            name_of(outcome)
            for outcomes in (self._collected, *self._sending.values())
            for outcome in outcomes
        ]

    def drop(self) -> None:
        """Forget what waits here: the lease was lost, and all of it would be refused."""
        self._incarnation += 1
        self.unsettled -= len(self._collected)
        if self._collected:
            log.warning("Dropped %d outcomes of the old incarnation.", len(self._collected))
            self._collected = []

    async def relieved(self) -> None:
        """Wait until there is room."""
        while self.room <= 0 and self._sending:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Note an outcome; it is written at the end of this turn."""
        self.unsettled += 1
        self._collected.append(_settlement(delivery, outcome))
        if len(self._collected) == 1:
            self._loop.call_soon(self._flush)

    async def finished(self) -> None:
        """Wait until everything has been written."""
        while self.unsettled:
            await asyncio.sleep(0)
            if self._sending:
                await asyncio.wait(self._sending)

    def _flush(self) -> None:
        collected, self._collected = self._collected, []
        for start in range(0, len(collected), MOST):
            batch = collected[start : start + MOST]
            task = self._loop.create_task(self._send(batch))
            self._sending[task] = batch
            task.add_done_callback(self._sending.pop)

    async def _send(self, outcomes: list[Settlement]) -> None:
        failures, incarnation = 0, self._incarnation
        while True:
            if incarnation != self._incarnation:
                self.unsettled -= len(outcomes)
                log.warning("Dropped %d outcomes of the old incarnation.", len(outcomes))
                return
            try:
                verdicts = await self._broker.settle(outcomes, dead_ms=KEEP_DEAD_MS)
                break
            except (Weather, BrokerUnavailable) as error:
                self._outage.turned(error)
            except ReplyError as error:
                verdicts = await self._settle_apart(outcomes, error)
                break
            await asyncio.sleep(reconnect_delay(failures))
            failures += 1
        self._outage.cleared()
        self.unsettled -= len(outcomes)
        self.done += len(outcomes)
        if verdicts.strip("K"):
            self._report(outcomes, verdicts)

    async def _settle_apart(self, outcomes: list[Settlement], refusal: ReplyError) -> str:
        """Settle one by one what was refused together, so that one bad outcome costs no other.

        Such a refusal is a bug of ours; it must not take the neighbours with it.
        """
        if len(outcomes) == 1:
            job_id = outcomes[0].job_id.decode()
            log.error("Job %s: its outcome %r was refused: %s", job_id, outcomes[0].op, refusal)
            return "B"
        verdicts = ""
        for outcome in outcomes:
            try:
                verdicts += await self._broker.settle([outcome], dead_ms=KEEP_DEAD_MS)
            except (Weather, BrokerUnavailable, ReplyError):
                verdicts += "B"
                log.exception("Job %s was not settled.", outcome.job_id.decode())
        return verdicts

    def _report(self, outcomes: list[Settlement], verdicts: str) -> None:
        """Say which words were refused: another worker has, or nobody knows, the job."""
        for outcome, verdict in zip(outcomes, verdicts, strict=True):
            if verdict in "SG":
                self.refused += 1
                reason = "it was taken over" if verdict == "S" else "its record is gone"
                log.warning("Job %s: the outcome was refused: %s.", outcome.job_id.decode(), reason)


def _settlement(delivery: Delivery, outcome: Outcome) -> Settlement:
    if isinstance(outcome, Completed):
        argument, value = outcome.keep_ms, outcome.result
    elif isinstance(outcome, Retried):
        argument, value = outcome.delay, outcome.error
    elif isinstance(outcome, GivenBack):
        argument, value = outcome.delay, b""
    elif isinstance(outcome, Unserved):
        argument, value = outcome.patience_ms, outcome.error
    elif isinstance(outcome, Parked):
        argument, value = outcome.holds, b""
    elif isinstance(outcome, Suspended):
        argument, value = outcome.due, outcome.names.encode()
    elif isinstance(outcome, Buried):
        argument, value = "", codec.with_reason(outcome.error, outcome.reason)
    else:  # Crashed
        argument, value = "", outcome.error
    return Settlement(delivery.job_id, delivery.entry_id, outcome.op, argument, value)
