"""One run: an empty server, a ledger, a contender's producers and worker, and the verdict.

Whatever a benchmark asks, its jobs are drained and counted in the end: a figure is worth nothing
when a job was lost or ran twice.
"""

import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ledger import Ledger
from benchmarks.processes import Contender, Process
from benchmarks.server import Server, private_server

# A run in which nothing happens for so long is over: what a dead worker held is reaped earlier.
_STALL = 60.0
_POLL = 0.001
# While a drain is timed the harness keeps out of the way of worker and server.
_SLOW_POLL = 0.02
# Time for the last jobs to be settled, and for a repeated run to show itself.
_AFTERMATH = 0.25


class JobsLost(Exception):
    """Jobs did not run exactly once; the message says how many."""


@dataclass(frozen=True)
class Drain:
    """What one worker did with a queue that was full when it started."""

    rate: float
    """Jobs per second, from the first start to the last end."""
    worker_us: float
    """CPU of the worker per job, in µs, start-up left out."""
    server_us: float
    """CPU of the server per job, in µs."""
    reads: float
    """How often per job the server read from a connection: round trips, about."""
    rss: int
    """Resident bytes of the worker after the last job."""


class Run:
    """A contender on a server of its own, with jobs numbered from 0 to `jobs`."""

    def __init__(self, contender: Contender, server: Server, ledger: Ledger, folder: Path) -> None:
        self.contender = contender
        self.server = server
        self.ledger = ledger
        self._folder = folder

    def produce(self, verb: str, *, timeout: float = 120.0, **options: object) -> dict[str, Any]:
        """Run a producer in a process of its own to its end; return its answer."""
        with self.producer(verb, **options) as process:
            return process.answer(timeout=timeout)

    @contextmanager
    def producer(self, verb: str, **options: object) -> Generator[Process]:
        """Start a producer for all jobs of this run, and end it with the block."""
        url, jobs = self.server.url, self.ledger.jobs
        process = Process(self.contender, verb, self._folder, url=url, jobs=jobs, **options)
        try:
            yield process
        finally:
            process.stop()

    @contextmanager
    def worker(self, concurrency: int) -> Generator[Process]:
        """Start a worker process, and end it with the block."""
        process = Process(
            self.contender,
            "worker",
            self._folder,
            url=self.server.url,
            ledger=self._folder / "ledger",
            concurrency=concurrency,
        )
        try:
            yield process
        finally:
            process.stop()

    def drain(self, concurrency: int) -> Drain:
        """Let one worker run every job that is queued; verify that it did."""
        with self.worker(concurrency) as worker:
            self.wait(worker, lambda: self.ledger.started)
            early, reads = self.ledger.runs, self.server.reads()
            worker_cpu, server_cpu = worker.cpu_seconds(), self.server.cpu_seconds()
            self.wait_until_all_ran(worker)
            microseconds = 1e6 / max(self.ledger.jobs - early, 1)
            result = Drain(
                rate=self.ledger.jobs / self.ledger.seconds,
                worker_us=(worker.cpu_seconds() - worker_cpu) * microseconds,
                server_us=(self.server.cpu_seconds() - server_cpu) * microseconds,
                reads=(self.server.reads() - reads) / self.ledger.jobs,
                rss=worker.rss(),
            )
        self.verify()
        return result

    def wait_until_all_ran(self, worker: Process) -> None:
        """Wait for the last job, and for what the worker does after it."""
        self.wait(worker, self.ledger.all_ran, poll=_SLOW_POLL)
        time.sleep(_AFTERMATH)

    def wait(self, worker: Process, condition: Callable[[], bool], *, poll: float = _POLL) -> None:
        """Wait for a condition. Raises: JobsLost when nothing runs any more."""
        runs, deadline = -1, 0.0
        while not condition():
            if runs != (runs := self.ledger.runs):
                deadline = time.monotonic() + _STALL
            if time.monotonic() > deadline:
                raise JobsLost(f"nothing ran for {_STALL:.0f} s; {self._account()}")
            worker.check()
            time.sleep(poll)

    def verify(self) -> None:
        """Raises: JobsLost unless each job has run exactly once."""
        if any(self.ledger.lost_and_repeated()):
            raise JobsLost(self._account())

    def _account(self) -> str:
        lost, repeated = self.ledger.lost_and_repeated()
        return f"of {self.ledger.jobs} jobs {lost} never ran, {repeated} ran more than once"


@contextmanager
def open_run(contender: Contender, jobs: int, *, tcp: bool = False) -> Generator[Run]:
    """Start a server and a ledger for one run; both are gone with the block."""
    with private_server(tcp=tcp) as server, tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.create(Path(folder) / "ledger", jobs)
        yield Run(contender, server, ledger, Path(folder))
