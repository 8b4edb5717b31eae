"""Profile the drain of the budget table: where a worker's time goes, per job.

    python -m benchmarks.profile > benchmarks/results/profile.txt

cProfile charges each Python call about as much as a cheap call costs, so read the shares, not the
microseconds; the true sum is the row "CPU per job" of the budget table.
"""

import cProfile
import io
import os
import pstats
import sys

from aioq import Aioq
from aioq.embedded import PrivateServer
from aioq.worker import Worker
from benchmarks.contestants.contestant import run

JOBS = 50_000
ROWS = 25


async def noop(index: int) -> int:
    """Run for no time at all; return a small result."""
    return index


async def drain(profile: cProfile.Profile) -> None:
    """Drain a full queue under the profiler."""
    async with PrivateServer() as server:
        app = Aioq(server.url)
        task = app.task(noop)
        await task.enqueue_many([(index,) for index in range(JOBS)])
        worker = Worker(app, concurrency=1000, burst=True)
        profile.enable()
        await worker.run()
        profile.disable()
        await app.aclose()


def main() -> None:
    """Print the functions with the largest share, paths cut to what they are called here."""
    profile = cProfile.Profile()
    run(drain(profile))
    text = io.StringIO()
    stats = pstats.Stats(profile, stream=text)
    stats.sort_stats("tottime").print_stats(ROWS)
    here = os.getcwd() + os.sep  # noqa: PTH109 - a prefix of text, not a path to use
    shown = text.getvalue().replace(here, "")
    for prefix in (sys.prefix, sys.base_prefix):
        shown = shown.replace(prefix, "<python>")
    print(f"drain of {JOBS:,} no-op jobs at concurrency 1,000\n{shown.strip()}")


if __name__ == "__main__":
    main()
