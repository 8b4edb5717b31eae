"""Decide what becomes of a delivery once its run has ended.

Running a task produces a value or an exception; `decide` turns the exception into an Outcome,
and the settler writes it.  Nothing here waits, reads a clock or talks to a server.
"""

from datetime import UTC
from typing import Literal, cast

import msgspec

from aioq.core import codec
from aioq.core.clock import milliseconds, moment_ms
from aioq.core.errors import (
    InvalidArguments,
    NonDeterministic,
    SoftTimeLimitExceeded,
    SuspendSwallowed,
    WorkerLost,
)
from aioq.core.retry import Reject, Retry, RetryPolicy, Snooze
from aioq.core.suspend import suspend_in

KEEP_DEAD_MS = 7 * 24 * 3600 * 1000
"""How long a dead letter is kept."""
RETRIES_USED_UP = "retries used up"


class Completed(msgspec.Struct, frozen=True):
    """The task returned."""

    result: bytes
    """Encoded; empty where the task ignores its result."""
    keep_ms: int

    op = "c"


class Retried(msgspec.Struct, frozen=True):
    """Run again later; one retry is used up."""

    delay: str
    """`+ms` from now, or an absolute `ms`."""
    error: bytes

    op = "r"


class Buried(msgspec.Struct, frozen=True):
    """The job has failed: a dead letter."""

    error: bytes
    reason: str = ""
    """Why this was the end, where the error does not say it."""

    op = "f"


class GivenBack(msgspec.Struct, frozen=True):
    """Run again, here or elsewhere; nothing is counted against the job."""

    delay: str = "+0"

    op = "n"


class Unserved(msgspec.Struct, frozen=True):
    """No worker here can run it: given back until `patience_ms` have passed, then buried."""

    error: bytes
    patience_ms: int

    op = "u"


class Parked(msgspec.Struct, frozen=True):
    """It must wait at the gates of its task's limits first; it has not started."""

    holds: str

    op = "p"


class Suspended(msgspec.Struct, frozen=True):
    """It waits outside of the worker; nothing is counted."""

    due: str
    """When it goes on at the latest, absolute `ms`; "" not by time."""
    names: str
    """The entries of its memo that it waits for, one in each line."""

    op = "s"


class Crashed(msgspec.Struct, frozen=True):
    """The process that ran it died, and the worker did not: counted as a crash."""

    error: bytes

    op = "l"


Outcome = Completed | Retried | Buried | GivenBack | Unserved | Parked | Suspended | Crashed
Op = Literal["c", "r", "f", "n", "u", "p", "s", "l"]


def decide(error: BaseException, policy: RetryPolicy, retries: int) -> Outcome:
    """Turn what a task raised into its outcome.

    Args:
        error: what came out of the task.
        policy: the retry options of the task.
        retries: how often the job was retried before this run.
    """
    suspend = suspend_in(error)
    if suspend is not None:
        return Suspended(str(suspend.due_ms or ""), "\n".join(suspend.names))
    error = ungrouped(error)
    if isinstance(error, Retry):
        return _decide_retry(error, policy, retries)
    if isinstance(error, Snooze):
        return GivenBack(f"+{milliseconds(error.seconds)}")
    if isinstance(error, _HOPELESS) or not policy.catches(error):
        return Buried(codec.encode_error(error))
    if not policy.allows(retries):
        return Buried(codec.encode_error(error), RETRIES_USED_UP)
    return Retried(f"+{milliseconds(policy.delay(retries))}", codec.encode_error(error))


def decide_interrupted(task: str, *, acks_late: bool, has_started: bool) -> Outcome:
    """Return what becomes of a delivery that is cancelled because its worker leaves."""
    if acks_late or not has_started:
        return GivenBack()
    message = (
        f"{task} was interrupted while its worker left; with acks_late=False it does not run again"
    )
    return Buried(codec.encode_error(WorkerLost(message), with_traceback=False))


def _decide_retry(request: Retry, policy: RetryPolicy, retries: int) -> Outcome:
    """Grant a retry that the task asked for, or fail with the error behind the request."""
    if request.max_retries is not msgspec.UNSET:
        policy = msgspec.structs.replace(policy, max_retries=request.max_retries)
    error = codec.encode_error(original(request))
    if not policy.allows(retries):
        return Buried(error, RETRIES_USED_UP)
    if request.eta is not None:
        return Retried(str(moment_ms(request.eta, UTC)), error)
    countdown = policy.default_retry_delay if request.countdown is None else request.countdown
    return Retried(f"+{milliseconds(countdown)}", error)


def original(error: BaseException) -> BaseException:
    """Return the error behind a request for a retry; any other error is its own original."""
    error = ungrouped(error)
    if not isinstance(error, Retry):
        return error
    found = error.exc or error.__cause__ or error.__context__ or error
    if found.__traceback__ is None:  # it was made and never raised: the request says where
        found = found.with_traceback(error.__traceback__)
    return found


def ungrouped(error: BaseException) -> BaseException:
    """Take what is meant for us out of the group that a task group has put around it.

    `ctx.retry()` in the body of an `asyncio.TaskGroup` arrives as a group of one; so does a soft
    limit, before Python 3.13.
    """
    found = error
    while isinstance(found, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", found).exceptions
        if len(inner) != 1:
            return error
        found = inner[0]
    return found if isinstance(found, _MEANT_FOR_US) else error


_HOPELESS = (Reject, InvalidArguments, NonDeterministic, SuspendSwallowed)
"""Another try would end the same way."""
_MEANT_FOR_US = (Retry, Snooze, Reject, SoftTimeLimitExceeded)
