"""Wait for a condition.  Nothing else in these tests sleeps."""

import asyncio
import time
from collections.abc import Callable

_PAUSE = 0.002


async def eventually(predicate: Callable[[], object], timeout: float = 5.0) -> None:
    """Return as soon as the predicate is true."""
    deadline = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < deadline, f"still not true after {timeout:g} s"
        await asyncio.sleep(_PAUSE)


def soon(predicate: Callable[[], object], timeout: float = 5.0) -> bool:
    """Tell whether the predicate becomes true in time, for code without an event loop."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
