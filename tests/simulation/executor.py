"""The jobs of a simulated worker; the rules are those of `aioq/worker/executor.py` and `turn.py`.

A run is a pause and then an end.  It counts as running, for the rule that no job overlaps itself,
from its first step to its last, whether or not its worker still has a right to it.
"""

from typing import TYPE_CHECKING, NamedTuple

from aioq.broker import scripts
from aioq.broker.scripts import Delivery, Update, name_of
from aioq.core.outcome import GivenBack, Outcome, Parked
from tests.simulation.client import ENQUEUE_TIMEOUT_MS
from tests.simulation.stories import Run
from tests.simulation.tasks import (
    TASKS,
    UNKNOWN,
    UNKNOWN_TO_SOME,
    Task,
    Way,
    interrupted,
    outcome_of,
)
from tests.simulation.turns import Hear, Lost, Pause, Service, Signal, Turn

if TYPE_CHECKING:
    from tests.simulation.worker import Worker


class Held(NamedTuple):
    """A delivery, and the service that runs it."""

    delivery: Delivery
    task: Task
    service: Service


class Executor:
    """Runs jobs."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._running: dict[bytes, Held] = {}
        self._begun: set[bytes] = set()
        self._free_threads = worker.post.threads
        self._thread_freed = Signal()
        self.ended = Signal()
        self.full_at_ms = 0.0
        """When it last had no room."""

    @property
    def room(self) -> int:
        """How many more jobs may start."""
        return self._worker.post.slots - len(self._running)

    @property
    def count(self) -> int:
        """How many jobs run."""
        return len(self._running)

    def held(self) -> list[bytes]:
        """Name the deliveries that run."""
        return [scripts.name_of(held.delivery) for held in self._running.values()]

    def start(self, delivery: Delivery, *, is_gated: bool) -> None:
        """Start a job; it is settled whatever happens."""
        worker, task = self._worker, TASKS[delivery.task.decode()]
        if task.name == UNKNOWN_TO_SOME and not worker.post.knows_all:
            self._send_away(delivery, UNKNOWN)
            return
        if task.holds and not is_gated:
            self._send_away(delivery, Parked(worker.rng.choice(task.holds)))
            return
        service = worker.spawn("job", self._run(delivery, task))
        self._running[name_of(delivery)] = Held(delivery, task, service)
        if self.room <= 0:
            self.full_at_ms = worker.turns.now_ms

    def _send_away(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle a job that does not start."""
        self._worker.settler.settle(delivery, outcome)
        self._worker.consumer.has_ended(delivery)

    def revoke(self, entry_id: bytes, job_id: bytes) -> None:
        """Cancel a running job on request."""
        for held in list(self._running.values()):
            if (held.delivery.entry_id, held.delivery.job_id) == (entry_id, job_id):
                self._stop(held)
                self._worker.settler.settle(held.delivery, GivenBack())

    def lose(self) -> None:
        """Cancel all that runs, and settle none of it: whoever reaped this worker has the jobs."""
        for held in list(self._running.values()):
            self._stop(held)

    def give_back(self) -> None:
        """Cancel all that runs, for the worker leaves."""
        for name, held in list(self._running.items()):
            has_started = name in self._begun
            self._stop(held)
            outcome = interrupted(held.task, has_started=has_started)
            self._worker.settler.settle(held.delivery, outcome)

    def _stop(self, held: Held) -> None:
        held.service.cancel()
        self._has_ended(held.delivery)

    def _has_ended(self, delivery: Delivery) -> None:
        self._running.pop(name_of(delivery), None)
        self._begun.discard(name_of(delivery))
        if self.room == 1:
            self.full_at_ms = self._worker.turns.now_ms
        self._worker.consumer.has_ended(delivery)
        self.ended.fire()

    def _run(self, delivery: Delivery, task: Task) -> Turn[None]:
        worker = self._worker
        if task.needs_thread:
            is_ours = yield from self._take_thread(delivery)
            if not is_ours:
                self._has_ended(delivery)
                return
        run = Run(delivery.job_id.decode(), delivery.entry_id, worker)
        self._begun.add(name_of(delivery))
        worker.history.started(run)
        try:
            way = yield from self._work(delivery, task)
        finally:
            worker.history.stopped(run)
            if task.needs_thread:
                self._free_thread()
        if way is Way.KILLS_THE_WORKER:
            worker.world.crash(worker, "killed by its job")
            return
        outcome = outcome_of(task, way, delivery.retries, worker.name)
        self._has_ended(delivery)
        worker.settler.settle(delivery, outcome)

    def _work(self, delivery: Delivery, task: Task) -> Turn[Way]:
        ms, way = task.ending(self._worker.rng)
        if task.reports:
            yield Pause(ms / 2)
            try:
                yield from self._note(delivery, "p")
            except Lost:  # an outage fails no job
                ms += 1
        yield Pause(ms)
        return way

    def _take_thread(self, delivery: Delivery) -> Turn[bool]:
        """Wait for a thread; False: the job is not this worker's any more."""
        if self._free_threads > 0:
            self._free_threads -= 1
            return True
        try:
            is_ours = yield from self._note(delivery, "v")
        except Lost:
            is_ours = True
        while is_ours and self._free_threads <= 0:
            yield Hear((self._thread_freed,))
        if not is_ours:
            return False
        self._free_threads -= 1
        try:
            is_ours = yield from self._tell_starting(delivery)
        except GeneratorExit:
            self._free_thread()
            raise
        if not is_ours:
            self._free_thread()
        return is_ours

    def _tell_starting(self, delivery: Delivery) -> Turn[bool]:
        """Until the server has taken note of the start, nothing begins."""
        while True:
            try:
                return (yield from self._note(delivery, "s"))
            except Lost:
                yield Pause(self._worker.reconnect_delay(0))

    def _note(self, delivery: Delivery, mark: str) -> Turn[bool]:
        worker = self._worker
        update = Update(delivery.job_id, delivery.entry_id, mark, b"half" if mark == "p" else b"")
        call = scripts.update(worker.prefix, count=1, updates=[update])
        flags = yield from worker.persist(call, [update], patience_ms=ENQUEUE_TIMEOUT_MS)
        return flags[0]

    def _free_thread(self) -> None:
        self._free_threads += 1
        self._thread_freed.fire()
