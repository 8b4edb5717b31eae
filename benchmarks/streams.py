"""How late an item of a stream is at its reader: `python -m benchmarks.streams [--quick]`.

A worker in a process of its own, a reader in this one, and an otherwise idle system.  Each item is
the moment of its yield, by the clock that all processes of a machine share.  Prints milliseconds,
and how many items a second go through when the task yields them as fast as it can.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable

from aioq import Aioq
from aioq.embedded import PrivateServer
from benchmarks.round_trip import percentile

app = Aioq()
PAUSE = 0.005
FLOOD = 10_000
"""Items that are kept, so that no reader can have missed one."""
READERS = 100


@app.task(name="moments")
async def moments(n: int, pause: float) -> AsyncIterator[int]:
    """Yield the time, n times."""
    for _ in range(n):
        await asyncio.sleep(pause)
        yield time.monotonic_ns()


@app.task(name="flood")
async def flood(n: int) -> AsyncIterator[int]:
    """Yield n numbers."""
    for number in range(n):
        yield number


async def measure(times: int) -> None:
    """Print the figures."""
    await lateness(1)  # opens connections, and warms code up
    firsts = [(await lateness(1))[0] for _ in range(times)]
    report("first item, a reader that is there", firsts)
    report("item, one reader", await lateness(times))
    report(f"item, {READERS} readers of it in one process", await lateness_of_many(times // 10))
    began = time.perf_counter()
    job = await flood.enqueue(FLOOD)
    count = 0
    async for _ in job.stream():
        count += 1
    took = time.perf_counter() - began
    print(f"{'items a second, task and reader flat out':45} {count / took:10,.0f}")


async def lateness(n: int) -> list[float]:
    """Return the milliseconds from yield to reader of each item of one job."""
    job = await moments.enqueue(n, PAUSE)
    return [(time.monotonic_ns() - at) / 1e6 async for at in job.stream()]


async def lateness_of_many(n: int) -> list[float]:
    """Return the milliseconds from yield to each of many readers."""
    job = await moments.enqueue(n, 10 * PAUSE)

    async def read() -> list[float]:
        return [(time.monotonic_ns() - at) / 1e6 async for at in job.stream()]

    return [
        each for some in await asyncio.gather(*(read() for _ in range(READERS))) for each in some
    ]


def report(what: str, milliseconds: Iterable[float]) -> None:
    """Print the median and the 99th percentile."""
    values = list(milliseconds)
    p50, p99 = statistics.median(values), percentile(values, 99)
    print(f"{what:45} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   ({len(values):,} items)")


def main() -> None:
    """Start a server and a worker, and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    times = 20 if parser.parse_args().quick else 1_000
    with PrivateServer() as server:
        command = [sys.executable, "-m", "aioq", "worker", "benchmarks.streams:app"]
        worker = subprocess.Popen([*command, "--url", server.url, "--log-level", "error"])
        try:
            with app.connected_to(server.url):
                asyncio.run(measure(times))
        finally:
            worker.terminate()
            worker.wait(30)


if __name__ == "__main__":
    main()
