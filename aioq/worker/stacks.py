"""Say where code stands that does not end."""

import asyncio
import sys
import traceback
from types import FrameType
from typing import Any

_LIBRARIES = ("aioq", "anyio", "asyncio", "concurrent", "threading")
"""Whoever waits stands in one of these at last; the caller's line says more."""


def stack_of(task: "asyncio.Task[Any]") -> list[str]:
    """Return the lines of a task's stack, down to where it awaits.

    `Task.get_stack` stops at the outermost coroutine of a task that is suspended.
    """
    frames = [(frame, frame.f_lineno) for frame in _frames(task)]
    return traceback.StackSummary.extract(iter(frames)).format()


def place_of_task(task: "asyncio.Task[Any]") -> str:
    """Return the line of the user's code at which a task waits."""
    return _place(_frames(task))


def place_of_thread(ident: int) -> str:
    """Return the line of the user's code at which a thread is."""
    # Documented, whatever its name says.
    frame = sys._current_frames().get(ident)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return _place(frames[::-1])


def _frames(task: "asyncio.Task[Any]") -> list[FrameType]:
    frames: list[FrameType] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return frames


def _place(frames: list[FrameType]) -> str:
    """Return file, line and function of the innermost frame that is the user's own."""
    for frame in reversed(frames):
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module not in _LIBRARIES:
            code = frame.f_code
            return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
    return "an unknown place"
