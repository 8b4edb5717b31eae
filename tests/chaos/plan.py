"""What a run of chaos does: how much work, and how many faults of each kind, in a seeded order."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "kill a worker",
    "freeze a worker for a moment",
    "freeze a worker for longer than its lease",
    "kill the server",
    "freeze the server",
    "kill all connections",
    "reset a link",
    "cut a reply",
    "stall a link",
    "hold a link for a moment",
    "hold a link for longer than the lease",
    "flush the scripts",
    "kill a producer",
    "pause the queue",
]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of chaos."""

    seed: int
    jobs: int
    seconds: float
    """For how long there is work and trouble."""
    faults: Mapping[Kind, int]
    workers: int = 4
    producers: int = 2
    concurrency: int = 20
    lease: float = 2.0
    drain: float = 30.0
    """Seconds after the last fault within which everything must be done."""

    def schedule(self) -> list[Kind]:
        """Return the faults in their order."""
        faults = [kind for kind in get_args(Kind) for _ in range(self.faults.get(kind, 0))]
        random.Random(self.seed).shuffle(faults)
        return faults
