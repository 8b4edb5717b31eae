"""What goes wrong besides messages, and how often; which of it happens depends on the seed.

Not all at once: where everything fails all the time, one protection hides what another has missed.
So each seed draws its own weather, and some seeds are nearly calm.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.history import LEASE_MS
from tests.simulation.network import Odds
from tests.simulation.turns import Pause, Process, Turn
from tests.simulation.worker import Worker

if TYPE_CHECKING:
    from tests.simulation.world import World


SPARED_MS = 1_000
"""How long nothing happens to a worker that something has happened to."""


@dataclass(frozen=True)
class Climate:
    """How often each fault happens: the mean seconds between two of a kind; 0: never."""

    odds: Odds = field(default_factory=Odds)
    crash: float = 0
    freeze: float = 0
    stall: float = 0
    cut: float = 0
    drain: float = 0
    clock_forwards: float = 0
    clock_backwards: float = 0
    forget_scripts: float = 0
    full: float = 0
    outage: float = 0
    torn: float = 0


def draw(rng: random.Random) -> Climate:
    """Draw the weather of a seed."""

    def maybe(mean_s: float) -> float:
        return rng.choice((0, 1, 1, 3)) * mean_s

    def share(most: float) -> float:
        return rng.choice((0, 0.3, 1)) * most

    odds = Odds(share(3), share(3), share(2), share(3))
    return Climate(
        odds=odds,
        crash=maybe(25),
        freeze=maybe(40),
        stall=maybe(150),
        cut=maybe(90),
        drain=maybe(60),
        clock_forwards=maybe(120),
        clock_backwards=maybe(120),
        forget_scripts=maybe(60),
        full=maybe(120),
        outage=maybe(150),
        torn=maybe(200),
    )


class Faults(Process):
    """Makes them happen."""

    def __init__(self, world: "World", climate: Climate) -> None:
        super().__init__("faults", world.turns)
        self._world = world
        self._rng = world.rng
        kinds: dict[str, Callable[[], None]] = {
            "crash": self._crash,
            "freeze": self._freeze,
            "stall": self._stall,
            "cut": self._cut,
            "drain": self._drain,
            "clock_forwards": self._clock_forwards,
            "clock_backwards": self._clock_backwards,
            "forget_scripts": self._forget_scripts,
            "full": self._fill,
            "outage": self._outage,
            "torn": self._tear,
        }
        for name, happen in kinds.items():
            mean_s: float = getattr(climate, name)
            if mean_s:
                self.spawn(name, self._repeat(mean_s, happen))

    def _repeat(self, mean_s: float, happen: Callable[[], None]) -> Turn[None]:
        while True:
            yield Pause(self._rng.expovariate(1 / mean_s) * 1000)
            if self._world.is_over:
                return
            happen()

    def _worker(self) -> Worker | None:
        """Choose a worker to which nothing else is happening."""
        since_ms = self._world.turns.now_ms - SPARED_MS
        well = [
            worker
            for worker in self._world.workers
            if max(worker.frozen_until, worker.stalled_until, worker.cut_until) < since_ms
        ]
        return self._rng.choice(well) if well else None

    def _crash(self) -> None:
        if worker := self._worker():
            self._world.crash(worker, "crashes")

    def _freeze(self) -> None:
        """Half of them for longer than the lease."""
        if worker := self._worker():
            leases = self._rng.choice((self._rng.uniform(0.1, 1), self._rng.uniform(1, 3)))
            worker.frozen_until = self._world.troubled(worker, "freezes", leases * LEASE_MS)

    def _stall(self) -> None:
        """Block the event loop, most often for less than what is tolerated."""
        if worker := self._worker():
            leases = self._rng.uniform(0.5, 2.6)
            # The loop shows three times per lease that it turns, so two leases may seem over early.
            is_tolerated = leases < 2 - 1 / 3 and worker.is_kept
            worker.stalled_until = self._world.troubled(
                worker, "stalls", leases * LEASE_MS, counts=not is_tolerated
            )

    def _cut(self) -> None:
        if worker := self._worker():
            leases = self._rng.uniform(0.1, 2)
            worker.cut_until = self._world.troubled(worker, "cuts", leases * LEASE_MS)
            worker.is_cut_backwards = self._rng.random() < 0.3

    def _drain(self) -> None:
        if worker := self._worker():
            worker.drain()
            self._world.happened("drains", worker.name)

    def _clock_forwards(self) -> None:
        self._world.move_clock(self._rng.choice((200, 5_000, 14_000, 40_000, 3_600_000)))

    def _clock_backwards(self) -> None:
        self._world.move_clock(-self._rng.choice((1, 50, 1_000, 2_000)))

    def _forget_scripts(self) -> None:
        self._world.forget_scripts()

    def _fill(self) -> None:
        self._world.fill(self._rng.uniform(500, 20_000))

    def _outage(self) -> None:
        """Half of them for longer than the lease."""
        leases = self._rng.choice((self._rng.uniform(0.01, 0.5), self._rng.uniform(1, 3)))
        self._world.take_server_away(leases * LEASE_MS)

    def _tear(self) -> None:
        self._world.tear(most=60, outage_ms=self._rng.uniform(10, 20_000))
