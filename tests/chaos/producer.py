"""A producer: enqueues jobs at a pace, and writes down what it sends and what is acknowledged.

`python -m tests.chaos.producer NAME COUNT SECONDS SEED`

Each job has a number of its own among its arguments, written down before it is sent: a number that
two jobs carry was enqueued twice.
"""

import asyncio
import random
import sys
import time
from typing import Any, NamedTuple

from aioq import BrokerUnavailable, Job, Revoked, TaskFailed
from aioq.tasks import Signature
from tests.chaos import journal
from tests.chaos.app import app, doomed, flaky, in_a_thread, paced, shared, slotted, work

KINDS = {
    "quick": 52,
    "delayed": 10,
    "long": 9,
    "flaky": 5,
    "thread": 4,
    "revoked": 3,
    "doomed": 1,
    "bulky": 2,
    "paced": 6,
    "slotted": 5,
    "shared": 3,
}
"""Kinds of jobs, and how many of a hundred are of each."""
HEARD = 0.05
"""The share of jobs whose result somebody waits for."""
OWN_ID = 0.5
"""The share of jobs sent alone that have an id of the producer's choice."""


class Order(NamedTuple):
    """One job to be made."""

    n: str
    kind: str
    failures: int
    """How often it raises before it succeeds."""
    call: Signature[Any]


class Producer:
    """One producer, from its first job to the last result that it waits for."""

    def __init__(self, name: str, count: int, seconds: float, seed: int) -> None:
        self._name = name
        self._count = count
        self._seconds = seconds
        self._random = random.Random(seed)
        written = journal.of_this_process()
        assert written is not None, f"{journal.ENVIRONMENT} is not set"
        self._journal = written
        self._sent = 0

    async def run(self) -> None:
        """Send everything at an even pace."""
        began = time.monotonic()
        async with app, asyncio.TaskGroup() as waiting:
            while self._sent < self._count:
                batch = [self._order() for _ in range(self._random.choice([1, 1, 5, 20]))]
                for order, job in await self._enqueue(batch):
                    self._journal.write("acked", order.n, job.id)
                    if order.kind == "revoked":
                        waiting.create_task(self._revoke(order.n, job))
                    if self._random.random() < HEARD:
                        waiting.create_task(self._hear(order.n, job))
                due = began + self._seconds * self._sent / self._count
                await asyncio.sleep(max(0, due - time.monotonic()))
            self._journal.write("done")

    def _order(self) -> Order:
        """Think of the next job."""
        self._sent += 1
        draw = self._random
        n = f"{self._name}-{self._sent}"
        kind = draw.choices(list(KINDS), weights=list(KINDS.values()))[0]
        failures = draw.randint(1, 2) if kind == "flaky" else 0
        calls = {
            "quick": lambda: work.s(n, draw.choice([0, 0, 0.005, 0.02])),
            "delayed": lambda: work.s(n).set(countdown=draw.uniform(0.05, 3)),
            "long": lambda: work.s(n, draw.uniform(0.5, 2)),
            "flaky": lambda: flaky.s(n, failures),
            "thread": lambda: in_a_thread.s(n, draw.uniform(0.01, 0.3)),
            "revoked": lambda: work.s(n, draw.uniform(0.2, 1)),
            "doomed": lambda: doomed.s(n),
            "bulky": lambda: work.s(n, 0, 2000),
            "paced": lambda: paced.s(n),
            "slotted": lambda: slotted.s(n, draw.uniform(0.02, 0.2)),
            "shared": lambda: shared.s(n),
        }
        call = calls[kind]().set(priority=draw.choice([1, 5, 5, 9]))
        self._journal.write("sent", n, kind, failures)
        return Order(n, kind, failures, call)

    async def _enqueue(self, batch: list[Order]) -> list[tuple[Order, Job[Any]]]:
        """Send some jobs; return those that were acknowledged."""
        first = batch[0]
        try:
            if len(batch) > 1:
                jobs = await app.enqueue_many(order.call for order in batch)
            elif self._random.random() < OWN_ID:
                jobs = [await first.call.set(job_id=first.n).enqueue()]
            else:
                jobs = [await first.call.enqueue()]
        except BrokerUnavailable as error:
            self._journal.write("refused", type(error).__name__)
            jobs = error.jobs
        return list(zip(batch, jobs, strict=False))

    async def _revoke(self, n: str, job: Job[Any]) -> None:
        await asyncio.sleep(self._random.uniform(0, 1))
        try:
            answer: object = await job.revoke()
        except BrokerUnavailable:
            answer = "unknown"
        self._journal.write("revoke", n, answer)

    async def _hear(self, n: str, job: Job[Any]) -> None:
        self._journal.write("waits", n)
        while True:
            try:
                await job.result()
            except (TaskFailed, Revoked):
                break
            except BrokerUnavailable:
                continue
            break
        self._journal.write("heard", n)


if __name__ == "__main__":
    name_, count_, seconds_, seed_ = sys.argv[1:]
    asyncio.run(Producer(name_, int(count_), float(seconds_), int(seed_)).run())
