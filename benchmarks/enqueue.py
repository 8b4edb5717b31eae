"""How many jobs a second one producer enqueues: one awaited call at a time, and many at once.

No worker runs meanwhile.  Afterwards one does, and every job must arrive.
"""

from __future__ import annotations

from benchmarks import budgets
from benchmarks.harness import Run
from benchmarks.session import Row, Session, Size, row

_ONE_BY_ONE = Size(10_000, 500)
_MANY = Size(100_000, 2_000)
_CONCURRENCY = 1000


def measure(session: Session) -> list[Row]:
    """Return both rates."""
    one_by_one = session.alternate(lambda run: rate(run, "enqueue"), jobs=session.size(_ONE_BY_ONE))
    many = session.alternate(lambda run: rate(run, "enqueue-many"), jobs=session.size(_MANY))
    return [
        row(budgets.ENQUEUE, one_by_one, float),
        row(budgets.ENQUEUE_MANY, many, float),
    ]


def rate(run: Run, verb: str) -> float:
    """Return the jobs enqueued a second by one producer, after seeing them all run."""
    enqueued: float = run.produce(verb)["rate"]
    run.drain(_CONCURRENCY)
    return enqueued
