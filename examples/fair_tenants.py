"""Let one tenant enqueue a thousand jobs, and another a single one right after.

    python examples/fair_tenants.py

Everything happens here: an embedded server, and a worker in this event loop.  The same jobs are
made twice, of a task that serves who comes first, and of one with `fair_by`.  The queue is paused
meanwhile, so that all of them are there when the first one starts.
"""

import asyncio

from aioq import Aioq, Job, Task
from aioq.testing import running

app = Aioq(name="tenants")
order: list[str] = []


@app.task
async def convert(tenant: str, page: int) -> None:
    """Start in the order of the queue."""
    order.append(f"{tenant} {page}")


def tenant_of(tenant: str, **_: object) -> str:
    """Return the key; called with the arguments of the task by their names."""
    return tenant


@app.task(fair_by=tenant_of)
async def convert_fairly(tenant: str, page: int) -> None:
    """Start in turn among the tenants."""
    order.append(f"{tenant} {page}")


async def main() -> None:
    """Run the whole demonstration."""
    async with running(app, concurrency=1):
        for task in (convert, convert_fairly):
            await run(task)
            small = order.index("small 1") + 1
            print(f"{task.name.partition('.')[2]}:")
            print(f"  starts with        {', '.join(order[:6])}")
            print(f"  the small one was  number {small:,} of {len(order):,}")


async def run(task: Task[[str, int], None]) -> None:
    """Make the jobs of both tenants, and wait until they have ended."""
    order.clear()
    await app.queues.pause("default")
    jobs: list[Job[None]] = await task.enqueue_many([("big", page) for page in range(1, 1001)])
    jobs.append(await task.enqueue("small", 1))
    jobs += await task.enqueue_many([("other", 1), ("other", 2)])
    await app.queues.resume("default")
    for job in jobs:
        await job.result(timeout=60)


if __name__ == "__main__":
    asyncio.run(main())
