"""Make a job once: one for the same call, a refusal, a replacement, and one for a burst of calls.

    python examples/unique_jobs.py

Everything happens here: an embedded server and a worker in this event loop.
"""

import asyncio

from aioq import Aioq, NotUnique, Revoked, Unique
from aioq.testing import running

app = Aioq(name="unique")
door = asyncio.Event()


def by_user(user: str, **_: object) -> str:
    """Return the key; called with the arguments of the task by their names."""
    return user


@app.task(unique=True)
async def report(user: str, month: int = 5) -> str:
    """Be made once for the same arguments."""
    await door.wait()
    return f"{user}'s report of month {month}"


@app.task(unique=Unique(key="import", on_conflict="reject"))
async def load(source: str) -> str:
    """Be made once, whatever the arguments."""
    await door.wait()
    return f"loaded {source}"


@app.task(unique=Unique(key=by_user, on_conflict="replace"))
async def remind(user: str, text: str) -> str:
    """Make way for a newer reminder."""
    return f"{user}: {text}"


@app.task(unique=Unique(key=by_user, on_conflict="debounce"))
async def index(user: str, text: str) -> str:
    """Run once when the calls have stopped coming, with the arguments of the last."""
    return f"{user}: {text}"


async def main() -> None:
    """Run the whole demonstration."""
    async with running(app):
        await show_that_the_same_call_is_one_job()
        await show_a_refusal()
        door.set()
        await show_a_replacement()
        await show_a_burst()


async def show_that_the_same_call_is_one_job() -> None:
    """Call in three ways that mean the same, and in one that does not."""
    calls = [report.s("ann"), report.s("ann", 5), report.s(month=5, user="ann"), report.s("bob")]
    jobs = [await call.enqueue() for call in calls]
    print("Made by this call:", *[job.created for job in jobs])
    print("Different jobs:", len({job.id for job in jobs}))


async def show_a_refusal() -> None:
    """Ask for a second import."""
    first = await load.enqueue("a.csv")
    try:
        await load.enqueue("b.csv")
    except NotUnique as error:
        print("Refused for the job that is there:", error.job_id == first.id)


async def show_a_replacement() -> None:
    """Change a reminder that waits."""
    first = await remind.options(countdown=3600).enqueue("ann", "tea at four")
    second = await remind.options(countdown=0.05).enqueue("ann", "tea at five")
    try:
        await first.result(timeout=10)
    except Revoked as error:
        print(str(error).partition(": ")[2])
    print(await second.result(timeout=10))


async def show_a_burst() -> None:
    """Call at every key that is pressed."""
    jobs = [await index.options(countdown=0.1).enqueue("bob", "hello"[:end]) for end in range(1, 6)]
    print(len({job.id for job in jobs}), "job for", len(jobs), "calls:", await jobs[0].result(10))


if __name__ == "__main__":
    asyncio.run(main())
