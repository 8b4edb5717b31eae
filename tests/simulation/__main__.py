"""Run one simulation: `python -m tests.simulation --seed 7`; the same seed is the same run."""

import argparse
import sys
import time

from tests.simulation.running import figures, simulate
from tests.simulation.stories import Violation


def main() -> int:
    """Run it, and print the figures, or what was violated and the last steps before that."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--trace", type=int, default=60, help="steps to show after a failure")
    arguments = parser.parse_args()
    began = time.monotonic()
    try:
        seen = simulate(arguments.seed, arguments.steps, trace=arguments.trace)
    except Violation as violation:
        sys.stdout.write(f"seed {arguments.seed}, {violation}\n")
        return 1
    sys.stdout.write(f"{figures(seen)}\n{time.monotonic() - began:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
