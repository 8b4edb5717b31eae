"""How near a worker comes to the ideal when every job waits 50 ms and 500 may wait at once.

Ideal is jobs / concurrency x 50 ms.  This shows how fast free slots are filled again and how
punctual the event loop stays; it says nothing about jobs that compute.
"""

from benchmarks import budgets
from benchmarks.harness import Run
from benchmarks.session import Row, Session, Size, row
from benchmarks.tasks import NAP_SECONDS

_JOBS = Size(5_000, 1_000)
_CONCURRENCY = 500


def measure(session: Session) -> list[Row]:
    """Return the share of the ideal that was reached."""
    jobs = session.size(_JOBS)
    ideal = jobs / _CONCURRENCY * NAP_SECONDS

    def once(run: Run) -> float:
        run.produce("fill", task="nap")
        run.drain(_CONCURRENCY)
        return ideal / run.ledger.seconds

    return [row(budgets.SLEEP, session.alternate(once, jobs=jobs), float)]
