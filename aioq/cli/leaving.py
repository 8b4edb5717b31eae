"""End the process although threads are still inside a function.

A thread cannot be stopped, and Python waits for the threads of every pool before it exits.  The
jobs of such threads have been given back by then, so there is nothing to wait for.
"""

import concurrent.futures.thread
import logging
import os
import sys
import threading
import time
from typing import NoReturn

log: logging.Logger = logging.getLogger("aioq.worker")

_POOL = concurrent.futures.thread.__file__
_LAST_STEPS = 0.1
"""Seconds for threads that are about to end."""


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


def leave(code: int, threads: list[str]) -> NoReturn:
    """Exit without waiting for these threads."""
    log.warning("Leaving while %d threads are inside a function: %s.", len(threads), threads)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
