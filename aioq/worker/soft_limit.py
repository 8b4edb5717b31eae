"""Raise `SoftTimeLimitExceeded` inside a coroutine, where it awaits.

asyncio can raise one thing in a coroutine that waits: a CancelledError.  So the job's own asyncio
task is cancelled, which unwinds timeouts, task groups and whatever is awaited as a cancellation
does; on its way into the coroutine the error is exchanged for the soft limit's, and the
cancellation is taken back (`uncancel`), as if there had never been one.

Others cancel the same task: `asyncio.timeout` and task groups inside the coroutine, the worker
from outside.  asyncio delivers cancellations of one turn as a single error, so they are told
apart by `Task.cancelling()`, which counts them.  Another's goes first; the soft limit is raised
where the coroutine waits next, unless the worker ends the job.
"""

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any

from aioq.context import Context
from aioq.core.errors import SoftTimeLimitExceeded

_AHEAD, _DUE, _ON_ITS_WAY, _OVER = range(4)


def exceeded(task: str, seconds: float) -> SoftTimeLimitExceeded:
    """Return what is raised."""
    return SoftTimeLimitExceeded(f"{task} ran longer than its soft_time_limit of {seconds:g} s")


class SoftLimit(Generator[Any, Any, Any]):
    """Wraps the coroutine of one run, which is awaited through it; `interrupt` is the deadline."""

    __slots__ = ("_context", "_level", "_seconds", "_state", "_task", "cr_await")

    def __init__(
        self,
        run: Coroutine[Any, Any, Any],
        *,
        task: "asyncio.Task[Any]",
        context: Context,
        seconds: float,
    ) -> None:
        self.cr_await: Coroutine[Any, Any, Any] = run
        """The coroutine inside, under the name by which stacks are followed."""
        self._task = task
        self._context = context
        self._seconds = seconds
        self._state = _AHEAD
        self._level = 0
        """Cancellations that the coroutine knew of when it last began to wait."""

    def interrupt(self) -> None:
        """Raise the error inside the coroutine, now or as soon as another's has been raised."""
        if self._state == _OVER or self._context.cancel_reason is not None:
            return
        self._state = _ON_ITS_WAY
        self._task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - what the coroutine awaits
        return self.send(None)

    def send(self, value: Any) -> Any:  # noqa: ANN401 - what the coroutine awaits
        """Resume the coroutine."""
        if self._state == _ON_ITS_WAY:
            # What it awaited was cancelled in its place, and has returned all the same.
            self._state = _DUE
            self._task.uncancel()
        try:
            awaited = self.cr_await.send(value)
        except BaseException:
            self._state = _OVER
            raise
        return self._waits_for(awaited)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> Any:  # noqa: ANN401 - what the coroutine awaits
        """Resume the coroutine with an error, which may be ours in another's clothes."""
        del traceback
        error = value if isinstance(value, BaseException) else kind
        if self._state == _ON_ITS_WAY and self._is_ours(error):
            error = exceeded(self._context.task_name, self._seconds)
        try:
            awaited = self.cr_await.throw(error)
        except BaseException:
            self._state = _OVER
            raise
        return self._waits_for(awaited)

    def close(self) -> None:
        """End the coroutine."""
        self._state = _OVER
        self.cr_await.close()

    def _is_ours(self, error: type[BaseException] | BaseException) -> bool:
        """Take our cancellation back, and tell whether it is what arrives."""
        self._task.uncancel()
        is_alone = self._task.cancelling() <= self._level
        is_ours = is_alone and isinstance(error, asyncio.CancelledError)
        self._state = _OVER if is_ours else _DUE
        return is_ours

    def _waits_for(self, awaited: Any) -> Any:  # noqa: ANN401 - what the coroutine awaits
        self._level = self._task.cancelling()
        if self._state == _DUE:
            self._state = _AHEAD
            self._task.get_loop().call_soon(self.interrupt)
        return awaited
