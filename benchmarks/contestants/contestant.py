"""The command line every contestant answers, so that the harness treats all of them alike.

It runs in the virtual environment of each peer, hence the standard library only; uvloop is used
wherever it is installed.  Producers time themselves, so their start-up is not counted.
"""

import argparse
import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from benchmarks import tasks

try:
    import uvloop
except ImportError:
    run: Callable[[Coroutine[Any, Any, Any]], Any] = asyncio.run
else:
    run = uvloop.run


# As many as redis-py's pool has connections by default.
_AT_A_TIME = 100


class Contestant(ABC):
    """A task queue under measurement; constructed with the server's URL, in each process anew.

    The first five are all that a peer needs.  The others are asked of aioq, and of the bare loop
    where it has them.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> None:  # noqa: B027 - most libraries connect by themselves
        """Connect as a producer, where the library wants that done explicitly."""

    @abstractmethod
    def work(self, concurrency: int) -> None:
        """Run one worker in this process until SIGTERM."""

    @abstractmethod
    async def enqueue(self, index: int) -> None:
        """Enqueue one no-op job and wait until the server has it."""

    @abstractmethod
    async def round_trip(self, index: int) -> object:
        """Enqueue one no-op job, wait for its result and return it."""

    async def enqueue_many(self, indexes: range) -> None:
        """Enqueue no-op jobs the fastest way the library offers.

        Unless an adapter says otherwise that is many single calls at a time.
        """
        for start in range(0, len(indexes), _AT_A_TIME):
            chunk = indexes[start : start + _AT_A_TIME]
            await asyncio.gather(*(self.enqueue(index) for index in chunk))

    async def enqueue_calls(self, task: str, calls: Sequence[tuple[Any, ...]]) -> None:
        """Enqueue one job of this task for each tuple of arguments."""
        raise NotImplementedError

    async def enqueue_at(self, indexes: Sequence[int], due: float) -> None:
        """Enqueue one timed job for each index, all due at this wall clock time."""
        raise NotImplementedError

    async def submit(self, index: int) -> Awaitable[int]:
        """Enqueue one no-op job and return what its result can be awaited from."""
        raise NotImplementedError


def main(build: Callable[[str], Contestant]) -> None:
    """Do what the harness asked for on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["worker", *_VERBS])
    parser.add_argument("--url", required=True)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--task", default="noop")
    parser.add_argument("--payload", type=int, default=0, help="bytes each job brings along")
    parser.add_argument("--due-in", type=float, help="seconds until the first job is due")
    parser.add_argument("--every", type=float, help="seconds from one due job to the next")
    options = parser.parse_args()
    contestant = build(options.url)
    if options.verb == "worker":
        tasks.record_into(options.ledger)
        contestant.work(options.concurrency)
    else:
        run(_produce(contestant, options))


async def _produce(contestant: Contestant, options: argparse.Namespace) -> None:
    await contestant.open()
    await _VERBS[options.verb](contestant, options)


def _answer(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


async def _enqueue(contestant: Contestant, options: argparse.Namespace) -> None:
    # The first opens the connection.
    await contestant.enqueue(0)
    begin = time.perf_counter()
    for index in range(1, options.jobs):
        await contestant.enqueue(index)
    _answer(rate=(options.jobs - 1) / (time.perf_counter() - begin))


async def _enqueue_many(contestant: Contestant, options: argparse.Namespace) -> None:
    await contestant.enqueue(0)
    begin = time.perf_counter()
    await contestant.enqueue_many(range(1, options.jobs))
    _answer(rate=(options.jobs - 1) / (time.perf_counter() - begin))


async def _fill(contestant: Contestant, options: argparse.Namespace) -> None:
    load = ("x" * options.payload,) if options.payload else ()
    await contestant.enqueue_calls(options.task, [(index, *load) for index in range(options.jobs)])
    _answer(jobs=options.jobs)


async def _round_trips(contestant: Contestant, options: argparse.Namespace) -> None:
    milliseconds: list[float] = []
    wrong = 0
    for index in range(options.jobs):
        begin = time.perf_counter()
        result = await contestant.round_trip(index)
        milliseconds.append((time.perf_counter() - begin) * 1e3)
        wrong += result != index
    _answer(milliseconds=milliseconds, wrong=wrong)


async def _at_once(contestant: Contestant, options: argparse.Namespace) -> None:
    due = time.time() + options.due_in
    await contestant.enqueue_at(range(options.jobs), due)
    _answer(due=[due] * options.jobs, spare=due - time.time())


async def _evenly(contestant: Contestant, options: argparse.Namespace) -> None:
    start = time.time() + options.due_in
    due = [start + index * options.every for index in range(options.jobs)]
    for index, when in enumerate(due):
        await contestant.enqueue_at([index], when)
    _answer(due=due, spare=start - time.time())


async def _waiters(contestant: Contestant, options: argparse.Namespace) -> None:
    # The second of these two may open what is shared by all waiters; it is counted as extra.
    await contestant.enqueue(0)
    sockets_before = _open_sockets()
    pending = [await contestant.submit(index) for index in range(1, options.jobs)]
    waiters = [asyncio.ensure_future(_await(one)) for one in pending]
    await asyncio.sleep(1)
    _answer(extra_connections=_open_sockets() - sockets_before)
    begin = time.perf_counter()
    results = await asyncio.gather(*waiters)
    wrong = sum(result != index for index, result in enumerate(results, start=1))
    _answer(seconds=time.perf_counter() - begin, wrong=wrong)


async def _await(result: Awaitable[int]) -> int:
    return await result


def _open_sockets() -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            count += str(descriptor.readlink()).startswith("socket:")
        except FileNotFoundError:  # the descriptor that listed this folder
            continue
    return count


_VERBS: dict[str, Callable[[Contestant, argparse.Namespace], Coroutine[Any, Any, None]]] = {
    "enqueue": _enqueue,
    "enqueue-many": _enqueue_many,
    "fill": _fill,
    "round-trips": _round_trips,
    "at-once": _at_once,
    "evenly": _evenly,
    "waiters": _waiters,
}
