"""Many workers, producers and faults, and every guarantee holds.

A seed that fails is printed, and `.venv/bin/python -m tests.simulation --seed N --steps M` runs it
again, step by step the same.
"""

import random
import sys

import pytest

from tests.simulation.running import figures, simulate

STEPS = 8_000
MANY = 10_000


def run(seed: int, steps: int) -> None:
    seen = simulate(seed, steps)
    sys.stdout.write(f"seed {seed}\n{figures(seen)}\n")
    assert seen["steps"] >= steps
    for what in ("jobs", "starts of held jobs", "occurrences"):
        assert seen[what] > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1, 11))
def test_the_guarantees_hold_whatever_fails(seed: int) -> None:
    run(seed, STEPS)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(10**6) for _ in range(100)])
def test_the_guarantees_hold_for_a_million_steps(seed: int) -> None:
    run(seed, MANY)
