"""Follow an order for what could be weeks, with a worker that has room for a single job.

    python examples/durable_order.py

Everything happens here: an embedded server, and a worker in this event loop.  Each line says what
ran.  The task is started again behind every wait, and its steps are not.
"""

import asyncio

from aioq import CONTEXT, Aioq, Context, JobState
from aioq.testing import running

app = Aioq(name="orders")


@app.task
async def pack(item: str) -> str:
    """Pack one item; a job of its own."""
    print(f"    pack {item}")
    return f"parcel with {item}"


async def reserve(items: list[str]) -> str:
    """Do what must not be done twice."""
    print(f"    reserve {', '.join(items)}")
    return "R-17"


async def send_mail(text: str) -> None:
    """Tell the customer."""
    print(f"    mail: {text}")


@app.task
async def order(items: list[str], ctx: Context = CONTEXT) -> list[str]:
    """See an order through."""
    print(f"  run {ctx.request.deliveries} of the task")
    number = await ctx.step("reserve", reserve, items)
    card = await ctx.wait_event("paid", timeout=14 * 86400)
    await ctx.step("thank", send_mail, f"{number} is paid by {card}")
    await ctx.sleep(0.5)  # a day, in a real shop: the customer may still cancel
    async with ctx.group() as group:
        parcels = [group.start(pack.s(item)) for item in items]
    sent = await ctx.wait(parcels)
    await ctx.step("done", send_mail, f"{len(sent)} parcels are on their way")
    return sent


async def main() -> None:
    """Run the whole demonstration."""
    async with running(app, concurrency=1):
        job = await order.enqueue(["a lamp", "a chair"])
        while (await job.info()).deliveries == 0 or await job.status() is not JobState.PENDING:
            await asyncio.sleep(0.05)
        print("  nothing runs; the customer pays")
        await app.send_event("paid", "card", job_id=job.id)
        print(await job.result(timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
