"""The jobs of every benchmark: plain functions, which each contestant registers in its own way."""

import asyncio
from pathlib import Path

from benchmarks.ledger import Ledger

NAP_SECONDS = 0.05

_ledger: Ledger


def record_into(path: Path) -> None:
    """Open the ledger of this run; called once by a worker process before its first job."""
    global _ledger  # noqa: PLW0603 - jobs are plain functions and reach it no other way
    _ledger = Ledger(path)


def noop_sync(index: int) -> int:
    """Run for no time at all, for contestants whose tasks are not coroutines."""
    _ledger.mark(index)
    return index


async def noop(index: int) -> int:
    """Run for no time at all; return a small result."""
    _ledger.mark(index)
    return index


async def carry(index: int, payload: str) -> int:  # noqa: ARG001 - it only comes along
    """Run for no time at all, after bringing a payload along."""
    _ledger.mark(index)
    return index


async def nap(index: int) -> int:
    """Sleep as a job that waits for somebody else's network does."""
    _ledger.begin()
    await asyncio.sleep(NAP_SECONDS)
    _ledger.mark(index)
    return index


async def stamp(index: int) -> int:
    """Note the start by the wall clock, for lateness."""
    _ledger.stamp(index)
    _ledger.mark(index)
    return index


TASKS = {task.__name__: task for task in (noop, carry, nap, stamp)}
