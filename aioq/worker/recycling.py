"""When a worker has lived as long as it may: jobs, memory, time.

A worker under a supervisor looks at itself and asks to be replaced; it goes on until it is.
"""

import asyncio
import os
import random
import sys
import time

from aioq.core.errors import ConfigurationError
from aioq.core.retry import Spread
from aioq.core.settings import Settings
from aioq.worker.worker import Worker

LOOK = 0.1
"""Seconds between two looks."""
MEGABYTE = 1024 * 1024


async def worn(worker: Worker, spread: Spread = random.uniform) -> str:
    """Wait until a worker has reached one of its limits; return which one, in words.

    Workers that were started together shall not reach theirs together: each takes up to a tenth
    off its numbers of jobs and of seconds.
    """
    settings = worker.settings
    started = time.monotonic()
    most_jobs = (settings.max_jobs or 0) * spread(0.9, 1)
    longest = (settings.max_lifetime or 0) * spread(0.9, 1)
    while True:
        if most_jobs and worker.done >= most_jobs:
            return f"run {worker.done} jobs (max_jobs={settings.max_jobs})"
        if longest and time.monotonic() - started >= longest:
            return f"lived for its time (max_lifetime={settings.max_lifetime:g})"
        if settings.max_memory and (used := memory()) >= settings.max_memory:
            return f"taken {used:.0f} MB of memory (max_memory={settings.max_memory})"
        await asyncio.sleep(LOOK)


def check(settings: Settings) -> None:
    """Check that a worker that has loaded its app, and has run no job, is within its limits.

    Raises:
        ConfigurationError: it would be replaced again and again.
    """
    used = memory()
    if settings.max_memory and used >= settings.max_memory:
        message = (
            f"max_memory={settings.max_memory} is too low: a worker takes {used:.0f} MB before it "
            "has run a job; allow it more, or leave the limit out"
        )
        raise ConfigurationError(message)


def limits(settings: Settings) -> str:
    """Return the limits in words; empty: there is none."""
    parts = [
        f"{settings.max_jobs} jobs" if settings.max_jobs else "",
        f"{settings.max_memory} MB" if settings.max_memory else "",
        f"{settings.max_lifetime:g} s" if settings.max_lifetime else "",
    ]
    return ", ".join(part for part in parts if part)


def memory() -> float:
    """Return how many megabytes of this process lie in memory; where that is not told, the peak."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - several times a second
            pages = int(file.read().split()[1])
    except OSError:
        import resource  # noqa: PLC0415 - not on every system

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
