"""The schedules of a simulated worker; the rules are those of `aioq/worker/scheduler.py`.

Every worker fires whatever is due, whoever else does; that each occurrence becomes one job is for
the server to see to.
"""

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from aioq.broker import schedules
from aioq.broker.resp import ReplyError
from aioq.broker.schedules import DueSchedule, Fire
from tests.simulation.turns import Lost, Pause, Turn

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

LOOK_AGAIN_MS = 15_000
FULL_PAUSE_MS = 5_000
MISSED = 5
"""Occurrences that may be made up for; where there are more, they are missed."""


class Plan(NamedTuple):
    """One schedule."""

    name: str
    every_ms: int
    lane: str
    op: str = "f"
    task: str = "quick"

    @property
    def definition(self) -> bytes:
        """As the server keeps it; only its hash means something to it."""
        return f"\n{self.name} every {self.every_ms}".encode()

    @property
    def version(self) -> str:
        """The hash of the definition."""
        return hashlib.sha1(self.definition).hexdigest()  # noqa: S324 - Redis's


PLANS = {
    plan.name: plan
    for plan in (
        Plan("tick", 9_000, "default:9"),
        Plan("skipping", 14_000, "mail:5", op="s"),
        Plan("queueing", 14_000, "default:5 o:queueing", task="slotted"),
    )
}


class Scheduler:
    """Fires occurrences."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker

    def run(self) -> Turn[None]:
        """Fire until the worker drains."""
        worker, failures = self._worker, 0
        while not (worker.is_draining or worker.world.is_over):
            try:
                pause_ms = yield from self._fire()
                failures = 0
            except Lost:
                pause_ms = worker.reconnect_delay(failures)
                failures += 1
            except ReplyError:  # full: no occurrence has become a job
                pause_ms = FULL_PAUSE_MS
            yield Pause(pause_ms)

    def _fire(self) -> Turn[float]:
        worker = self._worker
        due = yield from worker.ask(schedules.due(worker.prefix, most=250))
        fires = [_fire(each, due.now_ms) for each in due.schedules]
        if fires and not worker.world.is_over:
            call = schedules.fire(worker.prefix, count=len(fires), fires=fires)
            yield from worker.ask(call, fires)
        following = [fire.next_ms for fire in fires] + [due.next_ms] * bool(due.next_ms)
        return min(max(min(following) - due.now_ms, 0), LOOK_AGAIN_MS)


def _fire(due: DueSchedule, now_ms: int) -> Fire:
    plan = PLANS[due.name]
    at_ms, every_ms = due.occurrence_ms, plan.every_ms
    behind = (now_ms - at_ms) // every_ms
    is_missed = behind > MISSED
    return Fire(
        name=plan.name,
        version=plan.version,
        occurrence=at_ms,
        next_ms=at_ms + every_ms * (behind if is_missed else 1),
        op="m" if is_missed else plan.op,
        job_id=f"cron:{plan.name}:{at_ms}",
        lane=plan.lane,
        task=plan.task,
        due="",
        expires="",
        payload=b"" if is_missed else plan.name.encode(),
    )
