"""Put a thousand documents into a database: a job for each, one by one and in batches.

    python examples/batch_index.py

Everything happens here: an embedded server, and a worker in this event loop.  The queue is paused
until all jobs are there, so that every batch is full; otherwise a batch is called half a second
after its first job, however few have come.
"""

import asyncio
import sqlite3

from aioq import Aioq, Job, TaskFailed
from aioq.testing import running

Row = tuple[int, str]

app = Aioq(name="library")
database = sqlite3.connect(":memory:", isolation_level=None)
database.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, text TEXT)")
transactions = 0


def insert(rows: list[Row]) -> None:
    """Write some rows in one transaction."""
    global transactions  # noqa: PLW0603 - a demonstration counts
    transactions += 1
    database.execute("BEGIN")
    database.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?)", rows)
    database.execute("COMMIT")


@app.task
async def index_one(document: Row) -> int:
    """Write one document; return its length."""
    insert([document])
    return len(document[1])


@app.batch_task(size=100, wait=0.5)
async def index(documents: list[Row]) -> list[int | Exception]:
    """Write many documents; return the length of each, or what is wrong with it."""
    insert([document for document in documents if document[1]])
    return [len(text) or ValueError(f"document {number} is empty") for number, text in documents]


async def main() -> None:
    """Run the whole demonstration."""
    documents = [(number, "" if number == 13 else f"text {number}") for number in range(1000)]
    async with running(app, concurrency=1000):
        await app.queues.pause("default")
        one_by_one = await index_one.enqueue_many([(each,) for each in documents])
        await report("one by one", one_by_one)
        await app.queues.pause("default")
        in_batches = [await index.enqueue(each) for each in documents]
        await report("in batches", in_batches)


async def report(how: str, jobs: list[Job[int]]) -> None:
    """Let the jobs start, wait for each, and say what they cost."""
    global transactions  # noqa: PLW0603 - a demonstration counts
    transactions = 0
    await app.queues.resume("default")
    ended = await asyncio.gather(*(job.result(timeout=60) for job in jobs), return_exceptions=True)
    failed = [each for each in ended if isinstance(each, TaskFailed)]
    print(f"{how}: {len(jobs):,} jobs in {transactions:,} transactions, {len(failed)} failed")
    for error in failed:
        print(f"  {error.exc_type}: {error.exc_message}")


if __name__ == "__main__":
    asyncio.run(main())
