"""What the world may know of a job: its public state, and the values that describe it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """The public state of a job, in Celery's words."""

    PENDING = "PENDING"
    """Queued, delayed, or held by a limit."""
    RECEIVED = "RECEIVED"
    """Inside a worker, waiting for a thread or a process."""
    STARTED = "STARTED"
    """Running."""
    PROGRESS = "PROGRESS"
    """Running, and it has reported progress."""
    RETRY = "RETRY"
    """Waiting to run again after an error."""
    SUCCESS = "SUCCESS"
    """Ended: the task returned."""
    FAILURE = "FAILURE"
    """Ended: the task raised, and no retry is left."""
    REVOKED = "REVOKED"
    """Ended on request, or because it expired before it started."""

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in {JobState.SUCCESS, JobState.FAILURE, JobState.REVOKED}


class Stored(StrEnum):
    """The state letter in a job's record: where the job is, and which index must know it."""

    QUEUED = "q"
    """In a stream, not yet delivered; `i` is its entry."""
    DELAYED = "d"
    """In the delayed set, its payload in a key of its own."""
    PARKED = "p"
    """Held by a limit."""
    WAITING = "w"
    """Waiting for other jobs of its workflow."""
    SUSPENDED = "s"
    """Out of its worker until the time, the event or the children that its task waits for."""
    RUNNING = "r"
    """Delivered to worker `o`; `i` is the entry, and so the fencing token."""
    COMPLETED = "c"
    """The task returned."""
    FAILED = "f"
    """A dead letter."""
    REVOKED = "x"
    """Ended before it was done."""


_RUNNING_MARKS = {"v": JobState.RECEIVED, "p": JobState.PROGRESS}
_FINAL = {
    Stored.COMPLETED: JobState.SUCCESS,
    Stored.FAILED: JobState.FAILURE,
    Stored.REVOKED: JobState.REVOKED,
}


def public_state(stored: str, *, mark: str = "", retries: int = 0) -> JobState:
    """Translate a record's letter, with its running mark and its count of retries."""
    if stored == Stored.RUNNING:
        return _RUNNING_MARKS.get(mark, JobState.STARTED)
    final = _FINAL.get(Stored(stored))
    if final is not None:
        return final
    return JobState.RETRY if retries else JobState.PENDING


@dataclass(frozen=True, slots=True)
class Progress:
    """The last progress a running job has reported."""

    current: float | None = None
    total: float | None = None
    message: str | None = None
    meta: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class JobError:
    """The error of a failed job, or the last one of a job that will be retried."""

    exc_type: str
    """`module.qualname`; builtins are bare."""
    exc_message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """One look at a job, taken in a single moment of the server."""

    id: str
    task: str
    queue: str
    priority: int
    state: JobState
    args: tuple[Any, ...] | None
    """As they were sent; None once the payload is gone (a job that succeeded or was revoked)."""
    kwargs: dict[str, Any] | None
    retries: int
    crashes: int
    deliveries: int
    enqueued_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    """The worker that runs it, or ran it last."""
    progress: Progress | None
    error: JobError | None


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """One step in the life of a job."""

    id: str
    state: JobState
    progress: Progress | None
    """What was reported, in state PROGRESS."""
    at: datetime
    """By the server's clock."""
    position: str = field(default="", compare=False)
    """Its place in the stream of events, for `app.events(since=...)`; "" for what the job's record
    says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A job that has ended as FAILURE, kept so that it can be looked at and replayed."""

    id: str
    task: str
    queue: str
    args: tuple[Any, ...] | None
    """As they were sent; None where they are gone, or written by a newer release."""
    kwargs: dict[str, Any] | None
    error: JobError
    reason: str
    """What kind of end it was: `raised`, `retries used up`, `rejected`, `time limit`,
    `worker lost`, `invalid arguments`, `unknown task`, `newer payload`, `payload lost`,
    `dependency failed`."""
    died_at: datetime
    worker: str | None
    """The worker that ran it last."""
    retries: int
    crashes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """One look at a queue, taken in a single moment of the server."""

    name: str
    depth: int
    """Jobs that are ready to be taken; neither delayed nor held ones."""
    held: int
    """Jobs that wait because of a rate limit, a concurrency limit or a fair key."""
    running: int
    """Jobs that workers have."""
    oldest_age: float | None
    """Seconds for which the oldest job that is ready or held has waited; None: there is none."""
    paused: bool
    workers: int
    """Live workers that serve it."""
