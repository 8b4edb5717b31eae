"""How many jobs a second one producer enqueues: one awaited call at a time, and many at once.

No worker runs meanwhile.  Afterwards one does, and every job must arrive.

One at a time is a game of ping-pong: most of its wall time is the waking of an idle processor.
Where something else keeps the processors awake the bare loop more than doubles its rate, and the
ratio falls.  Take it on a quiet machine, and look at the server's CPU, which tells more.
"""

from typing import NamedTuple

from benchmarks import budgets
from benchmarks.harness import Run
from benchmarks.session import Row, Session, Size, row

_ONE_BY_ONE = Size(10_000, 500)
_MANY = Size(100_000, 2_000)
_CONCURRENCY = 1000


class _Enqueued(NamedTuple):
    rate: float
    server_us: float


def measure(session: Session) -> list[Row]:
    """Return both rates, and what a single enqueue costs the server."""
    one_by_one = session.alternate(
        lambda run: _enqueue(run, "enqueue"), jobs=session.size(_ONE_BY_ONE)
    )
    many = session.alternate(lambda run: _enqueue(run, "enqueue-many"), jobs=session.size(_MANY))
    return [
        row(budgets.ENQUEUE, one_by_one, lambda enqueued: enqueued.rate),
        row(budgets.ENQUEUE_CPU, one_by_one, lambda enqueued: enqueued.server_us),
        row(budgets.ENQUEUE_MANY, many, lambda enqueued: enqueued.rate),
    ]


def _enqueue(run: Run, verb: str) -> _Enqueued:
    cpu = run.server.cpu_seconds()
    rate: float = run.produce(verb)["rate"]
    cpu_used = run.server.cpu_seconds() - cpu
    run.drain(_CONCURRENCY)
    return _Enqueued(rate, cpu_used / run.ledger.jobs * 1e6)
