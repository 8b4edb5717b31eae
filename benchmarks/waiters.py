"""How many more connections a process holds when 10,000 of its coroutines await results.

Counted in the producer, after its first enqueue and again when all are waiting; then a worker
starts and every waiter must get its own result.
"""

from benchmarks import budgets
from benchmarks.harness import Run
from benchmarks.processes import ContestantFailed
from benchmarks.session import Row, Session, Size, row

_WAITERS = Size(10_000, 500)
_CONCURRENCY = 1000
_TIMEOUT = 60.0


def measure(session: Session) -> list[Row]:
    """Return the extra connections of one round."""
    # One more, as the first job of a producer is not waited for.
    results = session.alternate(_count, jobs=session.size(_WAITERS) + 1, rounds=1)
    return [row(budgets.WAITERS, results, float)]


def _count(run: Run) -> int:
    with run.producer("waiters") as producer:
        extra: int = producer.answer(timeout=_TIMEOUT)["extra_connections"]
        run.drain(_CONCURRENCY)
        wrong = producer.answer(1, timeout=_TIMEOUT)["wrong"]
    if wrong:
        raise ContestantFailed(f"{run.contender.name} gave {wrong} waiters a wrong result")
    return extra
