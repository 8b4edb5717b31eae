"""End the process although threads or coroutines are still inside a function.

A thread cannot be stopped, nor a coroutine that swallows its cancellation; Python waits for the
threads of every pool before it exits, and asyncio for every task.  Their jobs have been settled or
given back by then, so there is nothing to wait for.
"""

import asyncio
import concurrent.futures.thread
import logging
import os
import sys
import threading
import time
from typing import NoReturn

from aioq.worker.stacks import place_of_task

log: logging.Logger = logging.getLogger("aioq.worker")

_POOL = concurrent.futures.thread.__file__
_LAST_STEPS = 0.1
"""Seconds for threads that are about to end."""
_CLEANING_UP = 2.0
"""Seconds for coroutines to end after they were cancelled."""


def busy_threads() -> list[str]:
    """Return the names of the threads that Python would wait for, and that do something."""
    # Documented, whatever its name says.
    frames = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    busy = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
        and not thread.daemon
        # The innermost frame of an idle thread is the one in which the pool waits for work.
        and (frame := frames.get(thread.ident or 0)) is not None
        and frame.f_code.co_filename != _POOL
    ]
    deadline = time.monotonic() + _LAST_STEPS
    for thread in busy:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in busy if thread.is_alive()]


async def stubborn_tasks() -> list[str]:
    """Cancel all other tasks of this loop, as its end does; return where those are that go on."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=_CLEANING_UP)
    return [place_of_task(task) for task in rest if not task.done()]


def leave(code: int, behind: list[str]) -> NoReturn:
    """Exit without waiting for these threads and tasks."""
    log.warning("Leaving although %d functions have not ended: %s.", len(behind), behind)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
