"""What signals do to a worker.

The first SIGTERM or SIGINT drains it, the second gives the running jobs back, the third ends the
process.  SIGUSR1 writes all stacks to stderr.  The handlers are Python's own and not the event
loop's, so that the third signal and the stacks work while a task blocks the loop.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Protocol

from aioq.core.settings import Settings
from aioq.worker.stacks import stack_of

log: logging.Logger = logging.getLogger("aioq.worker")

_ENDING = (signal.SIGTERM, signal.SIGINT)
_STDERR = 2


class Ending(Protocol):
    """What signals end: a worker, or a scheduler."""

    settings: Settings
    started: asyncio.Event

    @property
    def running(self) -> int:
        """How many jobs run now."""
        ...

    def drain(self) -> None:
        """Take no more jobs, and leave when those that run have ended."""
        ...

    def stop(self) -> None:
        """Leave now."""
        ...


class Signals:
    """The signals of a worker from `install` on, which is called in the task that runs it.

    They stay to the end of the process: one that comes when the worker has left must not turn a
    clean end into a death by signal.  A worker that has not started taking jobs has nothing to
    drain: its task is cancelled.
    """

    def __init__(self, worker: Ending) -> None:
        self._worker = worker
        self._count = 0
        self._is_draining = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self.has_cancelled: bool = False
        """Whether the worker's task was cancelled from here."""

    def install(self) -> None:
        """Handle the signals of this process from now on; in the main thread."""
        for number in _ENDING:
            signal.signal(number, self._received)
        if hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, self._dump_tasks)
            # The threads' stacks come from C, also where Python is stuck; ours follow.
            faulthandler.register(signal.SIGUSR1, _STDERR, all_threads=True, chain=True)

    def drain(self, reason: str) -> None:
        """Do what the first signal does, from any thread; it does not count as one."""
        self._later(self._drain, reason)

    def stop(self, reason: str) -> None:
        """Do what the second signal does, from any thread; it does not count as one."""
        self._later(self._stop, reason)

    def _received(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._count += 1
        name = signal.Signals(number).name
        if self._count > 2:
            os.write(_STDERR, f"aioq: a third signal ({name}), leaving at once\n".encode())
            os._exit(128 + number)
        self._later(self._drain if self._count == 1 else self._stop, name)

    def _later(self, action: Callable[[str], None], reason: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: the worker has left
            self._loop.call_soon_threadsafe(action, reason)

    def _drain(self, reason: str) -> None:
        if self._is_draining or self._cancelled(reason):
            return
        self._is_draining = True
        if self._worker.running:
            log.info(
                "%s: waiting for %d running jobs, at most %g s; a second signal gives them back.",
                reason,
                self._worker.running,
                self._worker.settings.grace,
            )
        else:
            log.info("%s: leaving, no job runs.", reason)
        self._worker.drain()

    def _stop(self, reason: str) -> None:
        if self._cancelled(reason):
            return
        log.warning("%s: giving %d running jobs back.", reason, self._worker.running)
        self._worker.stop()

    def _cancelled(self, reason: str) -> bool:
        if self._worker.started.is_set() or self._task is None:
            return False
        log.info("%s: leaving before the start.", reason)
        self.has_cancelled = True
        self._task.cancel()
        return True

    def _dump_tasks(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        tasks = asyncio.all_tasks(self._loop)
        print(f"\n{len(tasks)} asyncio tasks:", file=sys.stderr)  # noqa: T201 - asked for
        for task in sorted(tasks, key=lambda each: each.get_name()):
            print(f"\n{task.get_name()}:", file=sys.stderr)  # noqa: T201
            print(*stack_of(task), sep="", end="", file=sys.stderr, flush=True)  # noqa: T201
