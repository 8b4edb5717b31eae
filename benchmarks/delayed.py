"""How late delayed jobs start: 5,000 due in the same instant, and 250 a second evenly.

Lateness is the wall clock at the start of the job less the time it was due.  The even load shows
the timer; the burst shows the backlog of one worker as well.  The bare loop has no delayed jobs.
"""

import statistics

from benchmarks import budgets
from benchmarks.harness import Run
from benchmarks.processes import ContestantFailed
from benchmarks.round_trip import percentile
from benchmarks.session import AIOQ, Row, Session, Size, row

_BURST = Size(5_000, 500)
_EVENLY = Size(1_250, 250)
_EVERY = 1 / 250
# Long enough for the worker to start and the producer to end before the first job is due.
_DUE_IN = 4
_CONCURRENCY = 1000


def measure(session: Session) -> list[Row]:
    """Return percentiles of both, and the smallest lateness, which may never be negative."""
    burst = session.alternate(
        lambda run: _lateness(run, "at-once"), jobs=session.size(_BURST), only=AIOQ
    )
    evenly = session.alternate(
        lambda run: _lateness(run, "evenly", every=_EVERY), jobs=session.size(_EVENLY), only=AIOQ
    )
    # One figure for all rounds: a median would hide the round in which a job was early.
    all_of_them = {
        name: [[late for one in (*burst[name], *evenly[name]) for late in one]]
        for name in burst.keys() & evenly.keys()
    }
    return [
        row(budgets.BURST_P99, burst, lambda late: percentile(late, 99)),
        row(budgets.EVENLY_P50, evenly, statistics.median),
        row(budgets.EVENLY_P99, evenly, lambda late: percentile(late, 99)),
        row(budgets.NEVER_EARLY, all_of_them, min),
    ]


def _lateness(run: Run, verb: str, **options: float) -> list[float]:
    with run.worker(_CONCURRENCY) as worker:
        answer = run.produce(verb, due_in=_DUE_IN, **options)
        if answer["spare"] < 0:
            raise ContestantFailed(f"{run.contender.name} enqueued for longer than {_DUE_IN} s")
        run.wait_until_all_ran(worker)
    run.verify()
    starts = run.ledger.start_times()
    return [(start - due) * 1e3 for start, due in zip(starts, answer["due"], strict=True)]
