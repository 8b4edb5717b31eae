"""docket (pydocket), with its own batch call.

The pool is enlarged: it takes a connection per running job, and past redis-py's 100 the worker
logs MaxConnectionsError and leaves jobs pending.
"""

# ruff: noqa: D102 - what each method does is said once, in Contestant
from datetime import timedelta

from docket import Docket, Worker

from benchmarks import tasks
from benchmarks.contestants.contestant import Contestant, main, run


class DocketTasks(Contestant):
    """One docket with the default settings."""

    async def open(self) -> None:
        self._docket = Docket(name="bench", url=f"{self.url}?max_connections=2000")
        self._docket.register(tasks.noop)
        # Left open: the process ends with its one measurement.
        await self._docket.__aenter__()

    def work(self, concurrency: int) -> None:
        run(self._work(concurrency))

    async def _work(self, concurrency: int) -> None:
        await self.open()
        async with Worker(self._docket, concurrency=concurrency) as worker:
            await worker.run_forever()

    async def enqueue(self, index: int) -> None:
        await self._docket.add(tasks.noop)(index)

    async def enqueue_many(self, indexes: range) -> None:
        # A call made once and used twice is one job: its key is drawn when it is made.
        await self._docket.add_many(self._docket.call(tasks.noop)(index) for index in indexes)

    async def round_trip(self, index: int) -> object:
        execution = await self._docket.add(tasks.noop)(index)
        return await execution.get_result(timeout=timedelta(seconds=10))


if __name__ == "__main__":
    main(DocketTasks)
