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

    Store the data elsewhere and pass its key, use `compression=`, or raise the limit.
    """


class JobNotFound(AioqError, LookupError):
    """No job with this id is known: it never existed, or its record has expired."""


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
