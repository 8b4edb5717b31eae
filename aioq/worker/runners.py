"""Where a task's function runs when it is not the event loop: a thread, or a process."""

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aioq.context import Context
from aioq.tasks import Task
from aioq.worker import orders
from aioq.worker.stacks import place_of_thread
from aioq.worker.task_process import TaskProcess
from aioq.worker.turn import Turn

log: logging.Logger = logging.getLogger("aioq.worker")

_LAST_STEPS = 2.0
"""Seconds that idle processes may take to end by themselves."""


class Threads:
    """A bounded pool of threads for `def` tasks."""

    def __init__(self, size: int | None) -> None:
        self.size: int = size or min(32, (os.cpu_count() or 1) + 4)
        self._pool = ThreadPoolExecutor(self.size, thread_name_prefix="aioq")
        self._free = asyncio.Semaphore(self.size)
        self.busy: int = 0
        """Threads inside a task now, whether or not anybody waits for it still."""

    async def run(self, function: Callable[[], Any], *, turn: Turn, context: Context) -> Any:  # noqa: ANN401 - R
        """Call a function in a thread, with this context's variables.

        A thread cannot be stopped: when this is cancelled, the thread goes on, and keeps its slot
        until the function has ended.
        """
        await turn.take(self._free)
        turn.has_come()
        thread = _Thread(function)
        self.busy += 1
        running = self._pool.submit(contextvars.copy_context().run, thread.run)
        loop = asyncio.get_running_loop()
        # The slot is the thread's, not the waiter's: it is free when the function has ended.
        running.add_done_callback(lambda _: _tell(loop, self._freed))
        turn.started()
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            if not running.done():
                self._leave_behind(thread, context)
                running.add_done_callback(lambda _: _tell(loop, lambda: _report_end(context)))
            raise

    def close(self) -> None:
        """Take no more; a thread that is inside a task ends with it, or with the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _freed(self) -> None:
        self.busy -= 1
        self._free.release()

    def _leave_behind(self, thread: "_Thread", context: Context) -> None:
        log.warning(
            "Job %s of %s has ended (%s), but a thread cannot be stopped: it is still at %s, and "
            "keeps one of %d slots.",
            context.job_id,
            context.task_name,
            context.cancel_reason,
            place_of_thread(thread.ident),
            self.size,
        )


class Processes:
    """A bounded pool of child processes for CPU work; one that died or was killed is replaced.

    Each is a fresh interpreter that imports the task's module; arguments and results cross as
    MessagePack, so a task finds the same values there as everywhere.
    """

    def __init__(self, size: int | None) -> None:
        self.size: int = size or os.cpu_count() or 1
        self._free = asyncio.Semaphore(self.size)
        self._idle: list[TaskProcess] = []
        self._alive: set[TaskProcess] = set()

    async def run(
        self, task: Task[..., Any], payload: bytes, *, turn: Turn, context: Context
    ) -> bytes:
        """Run a task in a child process; when this is cancelled, the child is killed.

        Returns:
            The encoded result.

        Raises:
            Died: the child died.
            NoProcess: none could be started.
            orders.Failed: the task raised, or its result cannot be serialised.
        """
        await turn.take(self._free)
        try:
            process = await self._obtain()
            turn.has_come()
            answer = await process.run(orders.order(task, payload, context), turn.started)
            self._idle.append(process)
        finally:
            self._free.release()
        return orders.result(answer)

    async def aclose(self) -> None:
        """End all children; those that are inside a task are killed."""
        for process in self._alive:
            process.close()
        await self._wait_for_ends()
        for process in self._alive:
            process.kill()
        await self._wait_for_ends()

    async def _wait_for_ends(self) -> None:
        if self._alive:
            await asyncio.wait([each.ended for each in self._alive], timeout=_LAST_STEPS)

    async def _obtain(self) -> TaskProcess:
        while self._idle:
            process = self._idle.pop()
            if not process.ended.done():
                return process
            process.close()
        process = await TaskProcess.start()
        self._alive.add(process)
        process.ended.add_done_callback(lambda _: self._alive.discard(process))
        return process


class _Thread:
    """One call in a thread, which knows the thread that it is in."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.ident: int = 0

    def run(self) -> Any:  # noqa: ANN401 - R
        self.ident = threading.get_ident()
        try:
            return self._function()
        except StopIteration as error:  # a future cannot hold one, as a generator cannot raise one
            message = "the task raised StopIteration"
            raise RuntimeError(message) from error


def _report_end(context: Context) -> None:
    log.info("Job %s of %s: its thread has ended at last.", context.job_id, context.task_name)


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop is closed: the worker left while the thread went on
        return
