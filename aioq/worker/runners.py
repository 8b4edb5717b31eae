"""Where a task's function runs when it is not the event loop: a thread, or a process."""

import asyncio
import contextvars
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
from anyio import to_process

from aioq.context import Context
from aioq.core.errors import WorkerLost
from aioq.tasks import Task
from aioq.worker import child

Wait = Callable[[str], Awaitable[object]]
"""Notes on the server that the job waits inside the worker ("v"), or has started after it ("s")."""


class Threads:
    """A bounded pool of threads for `def` tasks."""

    def __init__(self, size: int | None) -> None:
        self.size: int = size or min(32, (os.cpu_count() or 1) + 4)
        self._pool = ThreadPoolExecutor(self.size, thread_name_prefix="aioq")
        self._free = asyncio.Semaphore(self.size)
        self.busy: int = 0
        """Threads inside a task now, whether or not anybody waits for it still."""

    async def run(
        self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], note: Wait
    ) -> Any:  # noqa: ANN401 - R
        """Call a function in a thread, with this context's variables."""
        await _take(self._free, note)
        context = contextvars.copy_context()
        self.busy += 1
        running = self._pool.submit(context.run, _call, function, args, kwargs)
        loop = asyncio.get_running_loop()
        # The slot is the thread's, not the waiter's: it is free when the function has ended.
        running.add_done_callback(lambda _: _tell(loop, self._freed))
        return await asyncio.wrap_future(running)

    def _freed(self) -> None:
        self.busy -= 1
        self._free.release()

    def close(self) -> None:
        """Take no more; a thread that is inside a task ends with it, or with the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Processes:
    """A bounded pool of processes for CPU work.

    Each is a fresh interpreter that imports the task's module; arguments and results cross as
    MessagePack, so a task finds the same values there as everywhere.
    """

    def __init__(self, size: int | None) -> None:
        self.size: int = size or os.cpu_count() or 1
        self._limiter = anyio.CapacityLimiter(self.size)
        self._free = asyncio.Semaphore(self.size)

    async def run(
        self, task: Task[..., Any], payload: bytes, context: Context, note: Wait
    ) -> bytes:
        """Run a task in a child process; cancelling kills the child.

        Returns:
            The encoded result.

        Raises:
            WorkerLost: the child died.
            child.Failed: the task raised, or its result cannot be serialised.
        """
        await _take(self._free, note)
        try:
            return await to_process.run_sync(
                child.run,
                child.reference(task),
                payload,
                child.facts(context),
                cancellable=True,
                limiter=self._limiter,
            )
        except anyio.BrokenWorkerProcess as error:
            message = f"the process that ran {task.name} died"
            raise WorkerLost(message) from error
        finally:
            self._free.release()


def _call(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - R
    try:
        return function(*args, **kwargs)
    except StopIteration as error:  # a future cannot hold one, as a generator cannot raise one
        message = "the task raised StopIteration"
        raise RuntimeError(message) from error


async def _take(free: asyncio.Semaphore, note: Wait) -> None:
    if not free.locked():
        await free.acquire()
        return
    await note("v")
    await free.acquire()
    await note("s")


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop is closed: the worker left while the thread went on
        return
