"""What a worker with nothing to do costs: commands, CPU, connections.

Taken after it has run a job and come to rest.  Commands are those sent over a connection: a script
is one, whatever it calls inside.
"""

import time
from typing import NamedTuple

from benchmarks import budgets
from benchmarks.harness import Run
from benchmarks.session import Row, Session, Size, row

_SECONDS = Size(25, 3)
_REST = 3
_CONCURRENCY = 100


class _Idle(NamedTuple):
    commands: float
    cpu_percent: float
    connections: int


def measure(session: Session) -> list[Row]:
    """Watch each worker once; the figure is an average over the time watched."""
    seconds = session.size(_SECONDS)
    results = session.alternate(lambda run: _watch(run, seconds), jobs=1, rounds=1)
    return [
        row(budgets.IDLE_COMMANDS, results, lambda idle: idle.commands),
        row(budgets.IDLE_CPU, results, lambda idle: idle.cpu_percent),
        row(budgets.IDLE_CONNECTIONS, results, lambda idle: idle.connections),
    ]


def _watch(run: Run, seconds: int) -> _Idle:
    run.produce("enqueue")
    with run.worker(_CONCURRENCY) as worker:
        run.wait_until_all_ran(worker)
        time.sleep(_REST)
        cpu = worker.cpu_seconds()
        commands = run.server.watch_commands(seconds)
        cpu_used = worker.cpu_seconds() - cpu
        connections = run.server.connections()
    run.verify()
    return _Idle(commands / seconds, cpu_used / seconds * 100, connections)
