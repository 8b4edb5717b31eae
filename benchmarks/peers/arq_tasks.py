"""arq.  Its worker polls every 10 ms here (0.5 s by default), and a result is polled every 1 ms."""

# ruff: noqa: D102 - what each method does is said once, in Contestant
from arq import ArqRedis, Worker, create_pool
from arq.connections import RedisSettings

from benchmarks import tasks
from benchmarks.contestants.contestant import Contestant, main, run


async def noop(_ctx: object, index: int) -> int:
    """Take the job's arguments the way arq hands them over."""
    return await tasks.noop(index)


class Arq(Contestant):
    """One pool with the default settings."""

    _pool: ArqRedis

    async def open(self) -> None:
        self._pool = await create_pool(RedisSettings.from_dsn(self.url))

    def work(self, concurrency: int) -> None:
        run(self._work(concurrency))

    async def _work(self, concurrency: int) -> None:
        settings = RedisSettings.from_dsn(self.url)
        worker = Worker([noop], redis_settings=settings, max_jobs=concurrency, poll_delay=0.01)
        await worker.async_run()

    async def enqueue(self, index: int) -> None:
        await self._pool.enqueue_job("noop", index)

    async def round_trip(self, index: int) -> object:
        job = await self._pool.enqueue_job("noop", index)
        assert job is not None
        return await job.result(timeout=10, poll_delay=0.001)


if __name__ == "__main__":
    main(Arq)
