"""Stand aioq beside its peers: `python -m benchmarks.peers [--jobs 5000] [--only saq,arq]`.

Every peer runs in a virtual environment of its own (.venvs/<peer>, made when missing), over TCP,
with one worker at the concurrency that was best for it in a search over 100 and 1,000.  The bare
loop and aioq are given ten times the jobs, or they would be done before anything could be read.
One contender follows the other, which is enough where factors and not percents tell them apart.
Exit code 1 means that jobs were lost or ran twice.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import report, round_trip
from benchmarks.__main__ import contenders
from benchmarks.budgets import Budget
from benchmarks.harness import Drain, Run
from benchmarks.peers.environments import NotInstalled, environment, version
from benchmarks.processes import Contender
from benchmarks.session import AIOQ, BARE, Row, Samples, Session

_JOBS = 5_000
# Enough for a rate; the slowest peer takes two seconds for them.
_ONE_BY_ONE = 2_000
_TRIPS = 400


@dataclass(frozen=True)
class Peer:
    """What a contender is installed from, and how it runs at its best."""

    distribution: str
    concurrency: int
    requirements: tuple[str, ...] = ()
    times: int = 1
    """How many times the jobs asked for it gets."""


_FAST = ("hiredis", "uvloop")
_OWN = {
    BARE: Peer("redis", 1000, times=10),
    AIOQ: Peer("aioq-tasks", 1000, times=10),
}
_PEERS = {
    # saq 0.26 imports typing-extensions without requiring it.
    "saq": Peer("saq", 100, ("saq[redis]", "typing-extensions", *_FAST)),
    "arq": Peer("arq", 1000, ("arq", *_FAST)),
    "taskiq": Peer("taskiq-redis", 100, ("taskiq-redis", *_FAST)),
    "streaq": Peer("streaq", 100, ("streaq", *_FAST)),
    "docket": Peer("pydocket", 1000, ("pydocket", *_FAST)),
    # Processes, beside the one that feeds them.
    "celery": Peer("celery", 2, ("celery[redis]", "hiredis")),
}


_DRAIN = Budget("drain, no-op", "jobs/s")
_WORKER_CPU = Budget("CPU per job: worker", "µs")
_SERVER_CPU = Budget("CPU per job: server", "µs")
_ENQUEUE = Budget("single awaited enqueue", "jobs/s")
_ENQUEUE_MANY = Budget("enqueue many", "jobs/s")
_ROUND_TRIP_P50 = Budget("round trip p50", "ms")
_ROUND_TRIP_P99 = Budget("round trip p99", "ms")


def main() -> int:
    """Measure those asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--jobs", type=int, default=_JOBS, help="jobs to drain per peer")
    parser.add_argument("--only", help=f"some of {','.join(_PEERS)}", metavar="NAMES")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(_PEERS)
    if unknown := set(names) - set(_PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")

    session = Session([], quick=False, rounds=options.rounds, tcp=True)
    session.contenders = [*contenders(), *_install(names, session)]
    samples: dict[Budget, dict[str, Samples]] = {}
    for contender in session.contenders:
        for column, values in _measure(session, contender, options.jobs).items():
            samples.setdefault(column, {})[contender.name] = Samples(tuple(values))
        print(contender.name, "done", file=sys.stderr)
    rows = [Row(column, by_name) for column, by_name in samples.items()]

    about = report.surroundings()
    text = report.markdown("aioq and its peers", about, _table(session, rows), session)
    print(text)
    kind = "partial" if options.only else "peers"
    print(f"written to {report.write(kind, text, about, rows)}", file=sys.stderr)
    return 1 if session.losses else 0


def _install(names: Sequence[str], session: Session) -> list[Contender]:
    installed: list[Contender] = []
    for name in names:
        try:
            python = environment(name, _PEERS[name].requirements)
        except NotInstalled as reason:
            session.failures.append(f"{name} is not installed: {reason}")
        else:
            installed.append(Contender(name, f"benchmarks.peers.{name}_tasks", python))
    return installed


def _measure(session: Session, contender: Contender, jobs: int) -> dict[Budget, list[float]]:
    name = contender.name
    peer = {**_OWN, **_PEERS}[name]

    def fill_and_drain(run: Run) -> tuple[float, Drain]:
        return run.produce("enqueue-many")["rate"], run.drain(peer.concurrency)

    def one_by_one(run: Run) -> float:
        rate: float = run.produce("enqueue")["rate"]
        run.drain(peer.concurrency)
        return rate

    def trips(run: Run) -> list[float]:
        return round_trip.round_trips(run, peer.concurrency)

    drains = session.alternate(fill_and_drain, jobs=jobs * peer.times, only=name).get(name, [])
    singles = session.alternate(one_by_one, jobs=_ONE_BY_ONE * peer.times, only=name).get(name, [])
    waits = session.alternate(trips, jobs=_TRIPS + round_trip.WARM_UP, only=name).get(name, [])
    figures = {
        _DRAIN: [drain.rate for _, drain in drains],
        _WORKER_CPU: [drain.worker_us for _, drain in drains],
        _SERVER_CPU: [drain.server_us for _, drain in drains],
        _ENQUEUE: singles,
        _ENQUEUE_MANY: [rate for rate, _ in drains],
        _ROUND_TRIP_P50: [statistics.median(times) for times in waits],
        _ROUND_TRIP_P99: [round_trip.percentile(times, 99) for times in waits],
    }
    return {column: values for column, values in figures.items() if values}


def _table(session: Session, rows: Sequence[Row]) -> str:
    known = {**_OWN, **_PEERS}
    lines = [
        [
            contender.name,
            version(contender.python, known[contender.name].distribution),
            *(report.show(row.samples.get(contender.name)) for row in rows),
        ]
        for contender in session.contenders
    ]
    header = ["queue", "version", *(f"{row.budget.work}, {row.budget.unit}" for row in rows)]
    return report.table(header, lines)


if __name__ == "__main__":
    sys.exit(main())
