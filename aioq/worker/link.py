"""The way of one running job to the server: what its task reports, through its context."""

import logging

from aioq.broker.broker import Broker
from aioq.broker.scripts import Delivery
from aioq.core.errors import BrokerUnavailable

log: logging.Logger = logging.getLogger("aioq.worker")


class Link:
    """Sends what one delivery has to say; every word is refused once another worker has the job."""

    __slots__ = ("broker", "delivery")

    def __init__(self, broker: Broker, delivery: Delivery) -> None:
        self.broker = broker
        self.delivery = delivery

    async def report(self, progress: bytes) -> bool:
        """Note progress; False: it was not noted."""
        try:
            return await self.broker.update(self.delivery, "p", progress)
        except BrokerUnavailable as error:  # an outage fails no job; the next report may arrive
            log.debug("Progress of job %s was not noted: %s", self.delivery.job_id.decode(), error)
            return False
