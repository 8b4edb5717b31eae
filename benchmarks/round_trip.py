"""How long a producer waits from the call of enqueue to the result, in an idle system.

One job at a time, so this is latency and not throughput; the next is sent when the last is back.
Most of it is the waking of idle processors: compare only what was taken in the same run.
The first trips are left out: they open connections and warm up code.
"""

import statistics
import time

from benchmarks import budgets
from benchmarks.harness import Run
from benchmarks.processes import ContestantFailed
from benchmarks.session import Row, Session, Size, row

_TRIPS = Size(2_000, 200)
WARM_UP = 100
# The system is to be idle, and SAQ's worker may abort what it finds while it starts.
_START_UP = 2.0
_CONCURRENCY = 100


def measure(session: Session) -> list[Row]:
    """Return the median and the 99th percentile."""
    results = session.alternate(round_trips, jobs=session.size(_TRIPS) + WARM_UP)
    return [
        row(budgets.ROUND_TRIP_P50, results, statistics.median),
        row(budgets.ROUND_TRIP_P99, results, lambda trips: percentile(trips, 99)),
    ]


def round_trips(run: Run, concurrency: int = _CONCURRENCY) -> list[float]:
    """Return the milliseconds of each trip of one run, without the first ones."""
    with run.worker(concurrency) as worker:
        time.sleep(_START_UP)
        answer = run.produce("round-trips")
        run.wait_until_all_ran(worker)
    run.verify()
    if answer["wrong"]:
        raise ContestantFailed(f"{run.contender.name} returned {answer['wrong']} wrong results")
    return answer["milliseconds"][WARM_UP:]


def percentile(values: list[float], percent: int) -> float:
    """Return the value that this many percent do not exceed."""
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]
