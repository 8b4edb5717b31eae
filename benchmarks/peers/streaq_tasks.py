"""streaq, with its own batch call; its producer and its worker are the same object."""

# ruff: noqa: D102 - what each method does is said once, in Contestant
from streaq import Worker

from benchmarks import tasks
from benchmarks.contestants.contestant import Contestant, main, run


class Streaq(Contestant):
    """One queue with the default settings."""

    def work(self, concurrency: int) -> None:
        worker = Worker(redis_url=self.url, concurrency=concurrency)
        worker.task(tasks.noop)
        run(worker.run_async())

    async def open(self) -> None:
        self._worker = Worker(redis_url=self.url)
        self._noop = self._worker.task(tasks.noop)
        # Left open: the process ends with its one measurement.
        await self._worker.__aenter__()

    async def enqueue(self, index: int) -> None:
        await self._noop.enqueue(index)

    async def enqueue_many(self, indexes: range) -> None:
        await self._worker.enqueue_many([self._noop.enqueue(index) for index in indexes])

    async def round_trip(self, index: int) -> object:
        job = await self._noop.enqueue(index)
        return (await job.result(timeout=10)).result


if __name__ == "__main__":
    main(Streaq)
