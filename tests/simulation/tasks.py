"""What the simulated jobs do, and what is then to be settled.

Nothing is really run: a run takes its time, and then ends in one of the ways that a run can end.
What follows from that is decided by the code that real workers use.
"""

import random
from enum import Enum
from typing import NamedTuple

from aioq.broker.scripts import Delivery, Limit, Settlement
from aioq.core.outcome import (
    Completed,
    Crashed,
    GivenBack,
    Outcome,
    Parked,
    Retried,
    Suspended,
    Unserved,
    decide,
    decide_interrupted,
)
from aioq.core.retry import Reject, RetryPolicy, Snooze

KEEP_MS = 3_600_000
"""How long results are kept: longer than any simulation lasts in real time."""
PATIENCE_MS = 90_000
"""How long a job is offered around that no worker knows."""
UNKNOWN = Unserved(b"no worker knows the task", PATIENCE_MS)
POLICY = RetryPolicy(max_retries=3, autoretry_for=(OSError,), default_retry_delay=2)


class Way(Enum):
    """How a run ends."""

    RETURNS = "returns"
    RAISES = "raises"
    REJECTS = "rejects"
    SNOOZES = "snoozes"
    KILLS_ITS_CHILD = "kills its child"
    KILLS_THE_WORKER = "kills the worker"


class Task(NamedTuple):
    """One kind of job."""

    name: str
    weight: int
    """How many of a hundred jobs are of this kind."""
    longest_ms: int = 4_000
    way: Way = Way.RETURNS
    """How a run may end other than by returning."""
    chance: float = 0.0
    """Of its ending that way."""
    limit: str = ""
    """As `register.lua` knows it: how many deaths a job survives."""
    needs_thread: bool = False
    reports: bool = False
    holds: tuple[str, ...] = ()
    """What its jobs may be held by."""

    @property
    def acks_late(self) -> bool:
        """Whether it may run again after it began."""
        return self.limit != "0"

    def ending(self, rng: random.Random) -> tuple[float, Way]:
        """Return how long a run takes, and how it ends."""
        ms = rng.uniform(0.02, 1.0) * self.longest_ms
        return ms, self.way if rng.random() < self.chance else Way.RETURNS


TASKS = {
    task.name: task
    for task in (
        Task("quick", 34),
        Task("long", 6, longest_ms=80_000),
        Task("threaded", 8, needs_thread=True),
        Task("reporting", 4, reports=True),
        Task("flaky", 10, way=Way.RAISES, chance=0.6),
        Task("hopeless", 3, way=Way.REJECTS, chance=1.0),
        Task("snoozing", 4, way=Way.SNOOZES, chance=0.5),
        Task("child", 5, way=Way.KILLS_ITS_CHILD, chance=0.3, needs_thread=True),
        Task("killer", 1, way=Way.KILLS_THE_WORKER, chance=1.0),
        Task("clumsy", 2, way=Way.KILLS_THE_WORKER, chance=0.3),
        Task("stubborn", 1, way=Way.KILLS_THE_WORKER, chance=0.3, limit="inf"),
        Task("frail", 2, way=Way.KILLS_THE_WORKER, chance=0.3, limit="1"),
        Task("once", 4, longest_ms=30_000, limit="0"),
        Task("rare", 4),
        Task("paced", 5, holds=("b:pace:", "b:pace:=2", "b:pace: c:slots:", "b:bulk:x")),
        Task("slotted", 4, holds=("c:slots:", "c:elastic:", "c:elastic: c:slots:")),
        Task("fair", 3, holds=("f:a", "f:b c:elastic:")),
    )
}
UNKNOWN_TO_SOME = "rare"
LIMITS = [Limit(task.name, task.limit) for task in TASKS.values()]


def outcome_of(task: Task, way: Way, retries: int, worker: str) -> Outcome:
    """Decide what becomes of a run that has ended."""
    if way is Way.RETURNS:
        # Small and large results are kept in different places.
        return Completed(worker.encode() * (1 if task.longest_ms == 4_000 else 9), KEEP_MS)
    if way is Way.KILLS_ITS_CHILD:
        return Crashed(b"the process died")
    error = {
        Way.RAISES: OSError("out of luck"),
        Way.REJECTS: Reject("never"),
        Way.SNOOZES: Snooze(1.5 if retries else 0),
    }[way]
    return decide(error, POLICY, retries)


def interrupted(task: Task, *, has_started: bool) -> Outcome:
    """Return what becomes of a run whose worker leaves."""
    return decide_interrupted(task.name, acks_late=task.acks_late, has_started=has_started)


def settlement(delivery: Delivery, outcome: Outcome) -> Settlement:
    """Write an outcome as the settler does."""
    if isinstance(outcome, Completed):
        argument, value = outcome.keep_ms, outcome.result
    elif isinstance(outcome, Retried):
        argument, value = outcome.delay, outcome.error
    elif isinstance(outcome, GivenBack):
        argument, value = outcome.delay, b""
    elif isinstance(outcome, Unserved):
        argument, value = outcome.patience_ms, outcome.error
    elif isinstance(outcome, Parked):
        argument, value = outcome.holds, b""
    elif isinstance(outcome, Suspended):
        argument, value = outcome.due, outcome.names.encode()
    else:
        argument, value = "", outcome.error
    return Settlement(delivery.job_id, delivery.entry_id, outcome.op, argument, value)
