"""taskiq with taskiq-redis: the stream broker, which acknowledges; results polled every 1 ms."""

# ruff: noqa: D102 - what each method does is said once, in Contestant
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks import tasks
from benchmarks.contestants.contestant import Contestant, main, run


class Taskiq(Contestant):
    """One broker with the default settings."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        results = RedisAsyncResultBackend(url, result_ex_time=3600)
        self._broker = RedisStreamBroker(url).with_result_backend(results)
        self._noop = self._broker.register_task(tasks.noop, task_name="noop")

    async def open(self) -> None:
        await self._broker.startup()

    def work(self, concurrency: int) -> None:
        run(run_receiver_task(self._broker, max_async_tasks=concurrency, run_startup=True))

    async def enqueue(self, index: int) -> None:
        await self._noop.kiq(index)

    async def round_trip(self, index: int) -> object:
        job = await self._noop.kiq(index)
        return (await job.wait_result(check_interval=0.001, timeout=10)).return_value


if __name__ == "__main__":
    main(Taskiq)
