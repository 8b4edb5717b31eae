"""aioq as its users write it: full guarantees, results stored, settings left at their defaults."""

# ruff: noqa: D102 - what each method does is said once, in Contestant
import asyncio
import signal
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import Any

from aioq import Aioq
from aioq.worker import Worker
from benchmarks.contestants.contestant import Contestant, main, run
from benchmarks.tasks import TASKS


class AioqTasks(Contestant):
    """An app with the tasks of the benchmarks."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._app = Aioq(url)
        self._tasks = {name: self._app.task(function) for name, function in TASKS.items()}
        self._noop = self._tasks["noop"]

    def work(self, concurrency: int) -> None:
        run(self._work(concurrency))

    async def _work(self, concurrency: int) -> None:
        worker = Worker(self._app, concurrency=concurrency)
        # An embedded worker leaves the signals of its process alone.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain)
        await worker.run()

    async def enqueue(self, index: int) -> None:
        await self._noop.enqueue(index)

    async def enqueue_many(self, indexes: range) -> None:
        await self._noop.enqueue_many([(index,) for index in indexes])

    async def enqueue_calls(self, task: str, calls: Sequence[tuple[Any, ...]]) -> None:
        await self._tasks[task].enqueue_many(calls)

    async def enqueue_at(self, indexes: Sequence[int], due: float) -> None:
        later = self._tasks["stamp"].options(eta=datetime.fromtimestamp(due, UTC))
        await later.enqueue_many([(index,) for index in indexes])

    async def round_trip(self, index: int) -> object:
        job = await self._noop.enqueue(index)
        return await job.result(timeout=10)

    async def submit(self, index: int) -> Awaitable[int]:
        job = await self._noop.enqueue(index)
        return job.result(timeout=60)


if __name__ == "__main__":
    main(AioqTasks)
