"""Queues: stubs of their scripts, and which queues there are."""

from collections.abc import Sequence
from typing import NamedTuple

from aioq.broker import scripts
from aioq.broker.broker import Broker
from aioq.broker.resp import Reply, rows
from aioq.broker.scripts import Call


class Figures(NamedTuple):
    """What one queue holds; `queues/figures.lua` says what each number means."""

    depth: int
    held: int
    running: int
    age_ms: int
    paused: int


def pause(prefix: str, *, queue: str) -> Call[bool]:
    """Hand no more jobs of a queue out; False: it was paused."""
    return Call(scripts.load("queues/pause"), (prefix, queue), bool)


def resume(prefix: str, *, queue: str) -> Call[bool]:
    """Hand jobs of a queue out again; False: it was not paused."""
    return Call(scripts.load("queues/resume"), (prefix, queue), bool)


def figures(prefix: str, *, queues: Sequence[str]) -> Call[list[Figures]]:
    """Count what queues hold."""
    return Call(scripts.load("queues/figures"), (prefix, *queues), _parse_figures)


def _parse_figures(reply: Reply) -> list[Figures]:
    return rows(Figures, reply)


async def names(broker: Broker) -> set[str]:
    """Return the queues that are paused, and those in which jobs may wait or run."""
    lanes: list[bytes] = []
    for index in broker.keys.lanes:
        lanes += await broker.command("SMEMBERS", index)
    paused: list[bytes] = await broker.command("SMEMBERS", broker.keys.paused)
    found = {lane.decode().rpartition(":")[0] for lane in lanes}
    return found | {name.decode() for name in paused}
