"""Answer the speed budgets: `python -m benchmarks [--quick] [--only drain,idle] [--rounds 3]`.

Prints the table and writes it to benchmarks/results: a whole run as `latest`, a part of it as
`partial`, a smoke test as `quick`.  Exit code 1 means that jobs were lost or ran twice; a budget
that is missed is for the reader to judge, since machines differ.
"""

import argparse
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks import (
    delayed,
    drain,
    enqueue,
    growth,
    idle,
    memory,
    report,
    round_trip,
    sleep_jobs,
    waiters,
)
from benchmarks.processes import Contender
from benchmarks.session import AIOQ, BARE, Row, Session

# In the order of the budget table.
_QUESTIONS = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        drain,
        sleep_jobs,
        round_trip,
        enqueue,
        delayed,
        idle,
        memory,
        growth,
        waiters,
    )
}


def contenders() -> list[Contender]:
    """Return the bare loop, and aioq where this Python can import its worker."""
    python = Path(sys.executable)
    both = [Contender(BARE, "benchmarks.bare", python)]
    if find_spec("aioq.worker.worker"):
        both.append(Contender(AIOQ, "benchmarks.contestants.aioq_tasks", python))
    return both


def main() -> int:
    """Run the questions asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: a smoke test")
    parser.add_argument("--only", help=f"some of {','.join(_QUESTIONS)}", metavar="NAMES")
    parser.add_argument("--rounds", type=int, help="rounds of each side (3; quick: 1)")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(_QUESTIONS)
    if unknown := set(names) - set(_QUESTIONS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")

    session = Session(contenders(), options.quick, options.rounds or (1 if options.quick else 3))
    rows: list[Row] = []
    for name in names:
        begin = time.monotonic()
        rows += _QUESTIONS[name].measure(session)
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)

    about = report.surroundings()
    text = report.markdown("Speed budgets", about, report.budget_table(rows), session)
    print(text)
    kind = "quick" if options.quick else "partial" if options.only else "latest"
    print(f"written to {report.write(kind, text, about, rows)}", file=sys.stderr)
    return 1 if session.losses else 0


if __name__ == "__main__":
    sys.exit(main())
