"""Whether cost grows with the work: drain rate by depth of the queue, worker RSS by jobs done.

Rate: a fresh worker's first 10,000 jobs, with 10,000 queued and with about 1,000,000 queued, in
turns, so that both pay the same warm-up.  RSS: of one worker that drains the rest, when it has run
100,000 jobs and at its end.  Reaping beside a long pending list is not measured here.
"""

import statistics
from typing import NamedTuple

from benchmarks import budgets
from benchmarks.harness import Run, open_run
from benchmarks.session import Row, Session, Size, row

_SHALLOW = Size(10_000, 1_000)
# The windows eat into the depth; what is left for the last worker is about a million.
_DEEP = Size(1_100_000, 20_000)
_RSS_FROM = Size(100_000, 5_000)
_WINDOWS = Size(5, 2)
_CONCURRENCY = 1000
_FILL_TIMEOUT = 300.0


class _Growth(NamedTuple):
    shallow_rate: float
    deep_rate: float
    rss_ratio: float


def measure(session: Session) -> list[Row]:
    """Return the growth of memory and the loss of speed, as ratios."""
    results = session.alternate(lambda run: _grow(session, run), jobs=session.size(_DEEP), rounds=1)
    return [
        row(budgets.RSS_GROWTH, results, lambda growth: growth.rss_ratio),
        row(budgets.SHALLOW_RATE, results, lambda growth: growth.shallow_rate),
        row(budgets.DEEP_RATE, results, lambda growth: growth.deep_rate),
        row(budgets.DEPTH, results, lambda growth: growth.deep_rate / growth.shallow_rate),
    ]


def _grow(session: Session, deep: Run) -> _Growth:
    window = session.size(_SHALLOW)
    deep.produce("enqueue-many", timeout=_FILL_TIMEOUT)
    shallow_rates: list[float] = []
    deep_rates: list[float] = []
    for _ in range(session.size(_WINDOWS)):
        with open_run(deep.contender, window, tcp=session.tcp) as shallow:
            shallow.produce("enqueue-many")
            shallow_rates.append(_rate_of_first(shallow, window))
            shallow.verify()
        deep_rates.append(_rate_of_first(deep, window))
        deep.ledger.restart_clock()
    return _Growth(
        statistics.median(shallow_rates),
        statistics.median(deep_rates),
        _rss_ratio(deep, session.size(_RSS_FROM)),
    )


def _rate_of_first(run: Run, window: int) -> float:
    with run.worker(_CONCURRENCY) as worker:
        run.wait(worker, lambda: run.ledger.runs >= window)
        # It may have run more by now; count and clock belong together.
        return run.ledger.runs / run.ledger.seconds


def _rss_ratio(run: Run, early: int) -> float:
    with run.worker(_CONCURRENCY) as worker:
        run.wait(worker, lambda: run.ledger.runs >= early)
        rss_early = worker.rss()
        run.wait_until_all_ran(worker)
        rss_late = worker.rss()
    run.verify()
    return rss_late / rss_early
