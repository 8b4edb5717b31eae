"""How many no-op jobs a second one worker gets through, and what CPU each job costs.

The queue is full before the worker starts; the clock runs from the first start to the last end, so
neither enqueueing nor start-up counts.  Results are stored.  Jobs that do nothing show the cost of
the queue alone: work in the jobs makes every ratio smaller.
"""

from benchmarks import budgets
from benchmarks.harness import Drain, Run
from benchmarks.session import Row, Session, Size, row

_JOBS = {1000: Size(100_000, 2_000), 100: Size(50_000, 2_000)}


def measure(session: Session) -> list[Row]:
    """Drain at both concurrencies; CPU and reads are those at 1,000."""
    wide = _drain(session, 1000)
    narrow = _drain(session, 100)
    return [
        row(budgets.DRAIN[1000], wide, lambda drain: drain.rate),
        row(budgets.DRAIN[100], narrow, lambda drain: drain.rate),
        row(budgets.WORKER_CPU, wide, lambda drain: drain.worker_us),
        row(budgets.SERVER_CPU, wide, lambda drain: drain.server_us),
        row(budgets.READS, wide, lambda drain: drain.reads),
    ]


def _drain(session: Session, concurrency: int) -> dict[str, list[Drain]]:
    def once(run: Run) -> Drain:
        run.produce("enqueue-many")
        return run.drain(concurrency)

    return session.alternate(once, jobs=session.size(_JOBS[concurrency]))
