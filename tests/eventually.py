"""Wait for a condition: the one place where tests of the worker look again and again."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], object | Awaitable[object]], *, seconds: float = 10
) -> None:
    """Return when the condition holds; fail the test when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.005)
