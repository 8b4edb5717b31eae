"""Work that takes several calls, written once for asyncio and for plain sync code.

It is a generator that yields calls and is sent their replies; what it returns is the result.
"""

from collections.abc import Generator
from typing import Any, TypeVar

from aioq.broker.broker import Broker
from aioq.broker.scripts import Call
from aioq.broker.sync import SyncBroker

T = TypeVar("T")
Steps = Generator[Call[Any], Any, T]


async def take(broker: Broker, steps: Steps[T], *, patience: float | None = 0) -> T:
    """Take the steps, each through up to `patience` seconds of weather.

    None is for ever, and 0 for as long as an enqueue may take.
    """
    seconds = broker.enqueue_timeout if patience == 0 else patience
    try:
        call = next(steps)
        while True:
            call = steps.send(await broker.persist(call, patience=seconds))
    except StopIteration as end:
        return end.value


def take_sync(broker: SyncBroker, steps: Steps[T]) -> T:
    """`take` from plain sync code."""
    try:
        call = next(steps)
        while True:
            call = steps.send(broker.persist(call))
    except StopIteration as end:
        return end.value
