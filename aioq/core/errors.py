"""Every error a user can meet, in one tree.

Each class says when it is raised and what to do about it; each message says what
happened, with which value, and how to mend it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any


class AioqError(Exception):
    """The root of every error that aioq raises on purpose."""


class ConfigurationError(AioqError):
    """Something in the code or the settings cannot work.

    Raised where the mistake is made: at the decorator, at construction, at worker start.
    Mend the option that the message names.
    """


class InvalidArguments(AioqError, TypeError):
    """The arguments of a job cannot be serialised, or do not fit the task's annotations.

    At the caller: nothing was queued; pass values that msgspec or pydantic can serialise.
    At the worker: the job ended as FAILURE without a retry, since another try would fail too.
    """


class PayloadTooLarge(AioqError):
    """The encoded arguments are larger than `Settings.max_payload`; nothing was queued.

    In a task that streams: an item is.

    Store the data elsewhere and pass its key, use `compression=`, or raise the limit.
    """


class NotUnique(AioqError):
    """Another job has the unique key of the call, which asked to be rejected; nothing was queued.

    Look at that job, or use `Unique(on_conflict="return")`, which returns it.
    """

    job_id: str
    """The job that is there."""
    jobs: Sequence[Any] = ()
    """The jobs that a batch has made of its other calls."""

    def __init__(self, job_id: str, task: str = "") -> None:
        of = f" of {task}" if task else ""
        super().__init__(
            f"job {job_id}{of} has the same unique key and has not ended, so nothing was queued; "
            'on_conflict="return" would return it'
        )
        self.job_id = job_id
        self.task = task

    def __reduce__(self) -> tuple[type["NotUnique"], tuple[str, str]]:
        return type(self), (self.job_id, self.task)


class JobNotFound(AioqError, LookupError):
    """No job with this id is known: it never existed, or its record has expired."""


class StreamGap(AioqError):
    """Items of a stream are gone before this reader has read them: it fell behind.

    Iterate on: the stream of a job, of which the last 10,000 items are kept, goes on with the
    oldest that is left.  Events of an app are to be read anew, from `position` on.
    """

    missed: int
    """How many items are gone; 0 among events: nobody knows."""
    position: str
    """Where the stream goes on: `job.stream(after=position)` would, too; among events
    `app.events(since=position)`."""

    def __init__(self, job_id: str, position: str, missed: int) -> None:
        super().__init__(
            f"{missed:,} items that job {job_id} streamed are gone, since only the last 10,000 are "
            f"kept; iterate on for the rest, or begin with job.stream(after={position!r})"
            if job_id
            else "the events that come next are not kept any more; go on with the oldest that are: "
            f"app.events(since={position!r})"
        )
        self.job_id = job_id
        self.missed = missed
        self.position = position

    def __reduce__(self) -> tuple[type["StreamGap"], tuple[str, str, int]]:
        return type(self), (self.job_id, self.position, self.missed)


class StreamRestarted(AioqError):
    """The task that streams was started anew: a retry, or a delivery after its worker's death.

    What comes next are the items of a new generation, from the first.  Forget what came before,
    where that is what the new run replaces, and iterate on.
    """

    generation: int
    """The new generation."""
    position: str
    """Where the stream goes on: `job.stream(after=position)` would, too."""

    def __init__(self, job_id: str, generation: int) -> None:
        super().__init__(
            f"job {job_id} was started anew and streams from its beginning, as generation "
            f"{generation}; iterate on for its items"
        )
        self.job_id = job_id
        self.generation = generation
        self.position = f"{generation}-0"

    def __reduce__(self) -> tuple[type["StreamRestarted"], tuple[str, int]]:
        return type(self), (self.job_id, self.generation)


class ScheduleNotFound(AioqError, LookupError):
    """No schedule of this name is known: it was never added, or it was removed."""


class TaskFailed(AioqError):
    """The job ended as FAILURE; raised when its result is asked for.

    `__cause__` is the original exception where it is a builtin one.
    """

    exc_type: str
    """`module.qualname` of the original exception; builtins are bare."""
    exc_message: str
    """`str()` of the original exception."""
    traceback: str
    """The original traceback as text; empty where there was none."""

    def __init__(self, exc_type: str, exc_message: str, traceback: str = "") -> None:
        super().__init__(f"{exc_type}: {exc_message}" if exc_message else exc_type)
        self.exc_type = exc_type
        self.exc_message = exc_message
        self.traceback = traceback

    def __reduce__(self) -> tuple[type["TaskFailed"], tuple[str, str, str]]:
        return type(self), (self.exc_type, self.exc_message, self.traceback)


class Revoked(AioqError):
    """The job ended as REVOKED: on request, or because it expired before it started."""


class ResultExpired(AioqError):
    """The job has ended, but its result was kept only for `result_expires` seconds.

    Ask earlier, or raise `result_expires` on the task.
    """


class TimeLimitExceeded(AioqError):
    """The task ran longer than its `time_limit` and was cancelled."""


class WorkerLost(AioqError):
    """The process that ran the job died before the job ended, as often as `max_crashes` allows.

    Look into the logs of the worker that its message names; raise `max_crashes` where the deaths
    were not the task's fault, and replay the dead letter.
    """


class DependencyFailed(AioqError):
    """A job of a workflow failed without having run, since one that it waited for had failed.

    It is the `exc_type` of the `TaskFailed` that its result raises; the message names the job that
    failed, and holds its message.  Replay that one's dead letter, and the workflow goes on.
    """


class NonDeterministic(AioqError):
    """A durable job was run again, and did not do what its earlier runs had done.

    The job fails without a retry.  What decides the way of a durable task (the time, random
    numbers, what a service says) belongs into a `ctx.step`, which answers alike in every run.
    """


class SuspendSwallowed(AioqError):
    """A durable task went on although it had to wait: it caught `Suspend`, which must pass.

    The job fails without a retry.  Catch `Exception`, not `BaseException`, or raise it again.
    """


class BrokerUnavailable(AioqError, ConnectionError):
    """The server could not be reached, or refused, for longer than the call may wait.

    Whether an enqueue took effect is unknown then; calling again with the same `job_id`
    makes no second job.
    """

    jobs: Sequence[Any] = ()
    """The jobs that a batch had made before it failed."""


class BrokerFull(BrokerUnavailable):
    """The server is at its `maxmemory` and refuses writes; nothing was queued.

    Let the workers drain it, or give it more memory.
    """


class SoftTimeLimitExceeded(asyncio.CancelledError):
    """The task ran longer than its `soft_time_limit`; raised inside the coroutine where it awaits.

    It derives from `asyncio.CancelledError`, so task groups unwind without leaking children.
    Catch it to clean up.
    """
