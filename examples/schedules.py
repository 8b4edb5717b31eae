"""Fire schedules with two workers, and see what becomes of them when clocks are changed.

    python examples/schedules.py

Everything happens here: an embedded server, and two workers in this event loop.  Both fire the same
schedules, and one of them is stopped on the way.  Each occurrence becomes exactly one job all the
same, and none is left out.
"""

import asyncio
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from aioq import Aioq, crontab, every
from aioq.testing import running

app = Aioq(name="schedules")
ticks: list[str] = []

PARIS = "Europe/Paris"
TABLE = {
    "hour=2, minute=30": crontab(hour=2, minute=30, tz=PARIS),
    "hour=2, minute=[0, 30]": crontab(hour=2, minute=[0, 30], tz=PARIS),
    'hour="1-3", minute=0': crontab(hour="1-3", minute=0, tz=PARIS),
    'hour="*", minute=0': crontab(hour="*", minute=0, tz=PARIS),
    'hour=2, minute="*/30"': crontab(hour=2, minute="*/30", tz=PARIS),
}


@app.task(schedule=every(0.1))
async def tick() -> None:
    """Run ten times a second."""
    ticks.append("tick")


@app.task
async def report(kind: str) -> str:
    """Run once a year, or when somebody asks for it."""
    return f"the {kind} report"


app.schedule("new-year", report.s("yearly"), crontab("0 6 1 1 *", tz=PARIS))


async def main() -> None:
    """Run the whole demonstration."""
    show_changes_of_clocks()
    async with running(app) as first:
        async with running(app, url=first.url):
            await until_ticks(10)
            print("\nTwo workers have fired", tick.name)
        await until_ticks(len(ticks) + 10)
        print("One of them has left, and the other goes on")
        await app.schedules.pause(tick.name)
        await first.run_until_idle()
        await show_history()

        job = await app.schedules.run_now("new-year")
        print("\nRun by hand:", await job.result(timeout=10))
        print("Due next at:", f"{(await app.schedules.next('new-year'))[0]:%d %B, %H:%M %Z}")


def show_changes_of_clocks() -> None:
    """Print what is due in Paris where 02:00-03:00 is skipped, and where it is repeated."""
    print(f"{'crontab(...)':<24}{'31 March 2024':<16}27 October 2024")
    for name in TABLE:
        skipped, repeated = due(name, date(2024, 3, 31)), due(name, date(2024, 10, 27))
        print(f"{name:<24}{skipped or '-':<16}{repeated}")


def due(name: str, day: date) -> str:
    """Return what the wall clock shows at the occurrences until 03:59."""
    shown: list[str] = []
    moment = TABLE[name].next(datetime.combine(day, time(0, 30), ZoneInfo(PARIS)))
    while moment.date() == day and moment.hour < 4:
        shown.append(f"{moment:%H:%M}")
        moment = TABLE[name].next(moment)
    return " ".join(shown)


async def show_history() -> None:
    """Compare the occurrences of the last seconds with the jobs that were made."""
    history = await app.schedules.history(tick.name)
    moments = [each.at for each in reversed(history)]
    steps = {after - before for before, after in pairwise(moments)}
    print("  each occurrence fired:  ", {each.outcome for each in history} == {"fired"})
    print("  none left out:          ", steps == {timedelta(seconds=0.1)})
    print("  as many runs as jobs:   ", len(ticks) == len({each.job_id for each in history}))


async def until_ticks(count: int) -> None:
    """Wait until the task has run so often."""
    while len(ticks) < count:
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
