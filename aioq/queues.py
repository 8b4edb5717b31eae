"""Queues: what waits in each of them, and whether it is handed out.

A pause is noted on the server: it holds for all workers, and outlives them.
"""

from collections import Counter
from collections.abc import AsyncGenerator
from typing import TypeVar

from aioq.broker import inspect, queues
from aioq.broker.client import Client
from aioq.broker.queues import Figures
from aioq.broker.scripts import Call
from aioq.core import options
from aioq.core.listing import Listing
from aioq.core.record import QueueInfo

T = TypeVar("T")

_PER_CALL = 20
"""Queues that one call counts, so that it stays short."""


class Queues:
    """The queues of an app; `app.queues`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> Listing[QueueInfo]:
        """List the queues by name; `async for`, or `await` for a list.

        A queue is there while it has jobs, while a live worker serves it, and while it is paused.
        What is said of one is read in one moment.

        Raises:
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        return Listing(self._read)

    async def pause(self, name: str) -> bool:
        """Hand no more jobs of a queue out, to any worker; False: it was paused already.

        It holds from the moment this returns.  Jobs that were handed out before run to their
        end; those that come or become due wait.  The queue need not exist yet.

        Raises:
            ConfigurationError: this is no name of a queue.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        prefix = self._client.keys.prefix
        return await self._run(queues.pause(prefix, queue=options.queue_name(name)))

    async def resume(self, name: str) -> bool:
        """Hand jobs of a queue out again, and wake workers for them; False: it was not paused.

        Raises:
            ConfigurationError: this is no name of a queue.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        prefix = self._client.keys.prefix
        return await self._run(queues.resume(prefix, queue=options.queue_name(name)))

    async def _read(self) -> AsyncGenerator[QueueInfo]:
        broker = self._client.broker()
        patience = broker.enqueue_timeout
        workers = await broker.through_weather(lambda: inspect.workers(broker), patience=patience)
        found = await broker.through_weather(lambda: queues.names(broker), patience=patience)
        served = Counter(name for worker in workers for name in worker.queues)
        names = sorted(found | served.keys())
        for start in range(0, len(names), _PER_CALL):
            part = names[start : start + _PER_CALL]
            counted = await self._run(queues.figures(broker.keys.prefix, queues=part))
            for name, figures in zip(part, counted, strict=True):
                yield _info(name, figures, served[name])

    async def _run(self, call: Call[T]) -> T:
        broker = self._client.broker()
        return await broker.persist(call, patience=broker.enqueue_timeout)


def _info(name: str, figures: Figures, workers: int) -> QueueInfo:
    return QueueInfo(
        name=name,
        depth=figures.depth,
        held=figures.held,
        running=figures.running,
        oldest_age=None if figures.age_ms < 0 else figures.age_ms / 1000,
        paused=bool(figures.paused),
        workers=workers,
    )
