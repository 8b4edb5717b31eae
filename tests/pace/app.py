"""The app of these tests: one task for each kind of limit, and one without.

Kills from outside hit the innocent, so no number of crashes buries a job here.
"""

import asyncio

from aioq import Aioq, Settings

app = Aioq(name="test", settings=Settings(result_expires=7200))


@app.task(rate_limit="100/s", max_crashes=None)
async def limited(n: int) -> int:
    """Start a hundred times a second at most."""
    return n


@app.task(max_crashes=None)
async def free(n: int) -> int:
    """Start whenever there is room."""
    return n


@app.task(max_concurrency=4, max_crashes=None)
async def slotted(n: int) -> int:
    """Run four times at once at most."""
    await asyncio.sleep(0.02)
    return n
