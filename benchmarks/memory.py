"""How much server memory a queued job takes, and a finished one until its result expires.

Allocated bytes (used_memory) with 75,000 jobs less those of the empty server, once they are
stable and no client is connected.  Fixed keys and hash tables are shared out among the jobs.  The
server doubles its tables, so their share swings between 21 and 43 bytes a job; at this count they
are filled to two thirds, which is the middle.
"""

from typing import NamedTuple

from benchmarks import budgets
from benchmarks.harness import Run
from benchmarks.session import Row, Session, Size, row

_JOBS = Size(75_000, 2_000)
_PAYLOAD = 100
_CONCURRENCY = 1000


class _Memory(NamedTuple):
    queued: float
    finished: float


def measure(session: Session) -> list[Row]:
    """Return bytes per job; one round, as memory does not vary from run to run."""
    results = session.alternate(_weigh, jobs=session.size(_JOBS), rounds=1)
    return [
        row(budgets.FINISHED_MEMORY, results, lambda memory: memory.finished),
        row(budgets.QUEUED_MEMORY, results, lambda memory: memory.queued),
    ]


def _weigh(run: Run) -> _Memory:
    empty = run.server.used_memory()
    run.produce("fill", task="carry", payload=_PAYLOAD)
    queued = run.server.used_memory()
    run.drain(_CONCURRENCY)
    finished = run.server.used_memory()
    return _Memory((queued - empty) / run.ledger.jobs, (finished - empty) / run.ledger.jobs)
