"""SAQ.  `apply` looks every 1 ms: by default a result is looked for every 0.5 s."""

# ruff: noqa: D102 - what each method does is said once, in Contestant
from saq import Queue, Worker

from benchmarks import tasks
from benchmarks.contestants.contestant import Contestant, main, run


async def noop(_ctx: object, *, index: int) -> int:
    """Take the job's arguments the way SAQ hands them over."""
    return await tasks.noop(index)


class Saq(Contestant):
    """One queue with the default settings."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._queue = Queue.from_url(url)

    async def open(self) -> None:
        await self._queue.connect()

    def work(self, concurrency: int) -> None:
        run(self._work(concurrency))

    async def _work(self, concurrency: int) -> None:
        await self._queue.connect()
        await Worker(self._queue, functions=[noop], concurrency=concurrency).start()

    async def enqueue(self, index: int) -> None:
        await self._queue.enqueue("noop", index=index)

    async def round_trip(self, index: int) -> object:
        return await self._queue.apply("noop", poll_interval=0.001, index=index)


if __name__ == "__main__":
    main(Saq)
