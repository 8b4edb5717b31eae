"""Celery: the prefork pool, its default and its fastest; late acknowledgement as aioq has.

Its calls block, and it has no batch call: many jobs are single calls over one open connection.
"""

# ruff: noqa: D102 - what each method does is said once, in Contestant
from celery import Celery

from benchmarks import tasks
from benchmarks.contestants.contestant import Contestant, main


class CeleryTasks(Contestant):
    """One app with Redis as broker and for results."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._app = Celery("bench", broker=url, backend=url)
        self._app.conf.update(task_acks_late=True, result_expires=3600)
        self._noop = self._app.task(tasks.noop_sync, name="noop")

    def work(self, concurrency: int) -> None:
        # Without the three, workers also talk among themselves; a single one has nobody to talk to.
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._app.worker_main(["worker", f"--concurrency={concurrency}", "--pool=prefork", *quiet])

    async def enqueue(self, index: int) -> None:
        self._noop.delay(index)

    async def enqueue_many(self, indexes: range) -> None:
        with self._app.producer_pool.acquire(block=True) as producer:
            for index in indexes:
                self._noop.apply_async((index,), producer=producer)

    async def round_trip(self, index: int) -> object:
        return self._noop.delay(index).get(timeout=10)


if __name__ == "__main__":
    main(CeleryTasks)
