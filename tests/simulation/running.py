"""Run a world, from a seed to its figures."""

from collections import Counter

import pytest

from aioq.embedded import PrivateServer
from tests.simulation.clock import Scripts
from tests.simulation.stories import Violation
from tests.simulation.wire import LOGGING
from tests.simulation.world import World


def simulate(seed: int, steps: int, *, trace: int = 60) -> Counter[str]:
    """Run one world on a server of its own; return its figures.

    Raises:
        Violation: something was that must never be.
    """
    with (
        PrivateServer(appendonly=True, arguments=LOGGING) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("aioq.broker.scripts.load", Scripts().load)
        world = World(seed, server, trace=trace)
        try:
            world.run(steps)
        except Violation as violation:
            again = f".venv/bin/python -m tests.simulation --seed {seed} --steps {steps}"
            raise Violation(f"{violation}\nagain: {again}") from None
        finally:
            world.close()
        return world.figures


def figures(seen: Counter[str]) -> str:
    """Put figures into a table."""
    return "\n".join(f"{number:>9}  {name}" for name, number in sorted(seen.items()))
