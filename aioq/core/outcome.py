"""Decide what becomes of a delivery once its run has ended.

Running a task produces a value or an exception; `decide` turns the exception into an Outcome,
and the settler writes it.  Nothing here waits, reads a clock or talks to a server.
"""

from datetime import UTC
from typing import Literal

import msgspec

from aioq.core import codec
from aioq.core.clock import milliseconds, moment_ms
from aioq.core.errors import InvalidArguments
from aioq.core.retry import Reject, Retry, RetryPolicy, Snooze

KEEP_DEAD_MS = 7 * 24 * 3600 * 1000
"""How long a dead letter is kept."""


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


Outcome = Completed | Retried | Buried | GivenBack | Unserved
Op = Literal["c", "r", "f", "n", "u"]


def decide(error: BaseException, policy: RetryPolicy, retries: int) -> Outcome:
    """Turn what a task raised into its outcome.

    Args:
        error: what came out of the task.
        policy: the retry options of the task.
        retries: how often the job was retried before this run.
    """
    if isinstance(error, Retry):
        return _decide_retry(error, policy, retries)
    if isinstance(error, Snooze):
        return GivenBack(f"+{milliseconds(error.seconds)}")
    if isinstance(error, (Reject, InvalidArguments)):  # another try would end the same way
        return Buried(codec.encode_error(error))
    if policy.catches(error) and policy.allows(retries):
        return Retried(f"+{milliseconds(policy.delay(retries))}", codec.encode_error(error))
    return Buried(codec.encode_error(error))


def _decide_retry(request: Retry, policy: RetryPolicy, retries: int) -> Outcome:
    """Grant a retry that the task asked for, or fail with the error behind the request."""
    if request.max_retries is not msgspec.UNSET:
        policy = msgspec.structs.replace(policy, max_retries=request.max_retries)
    error = codec.encode_error(original(request))
    if not policy.allows(retries):
        return Buried(error)
    if request.eta is not None:
        return Retried(str(moment_ms(request.eta, UTC)), error)
    countdown = policy.default_retry_delay if request.countdown is None else request.countdown
    return Retried(f"+{milliseconds(countdown)}", error)


def original(error: BaseException) -> BaseException:
    """Return the error behind a request for a retry; any other error is its own original."""
    if not isinstance(error, Retry):
        return error
    found = error.exc or error.__cause__ or error.__context__ or error
    if found.__traceback__ is None:  # it was made and never raised: the request says where
        found = found.with_traceback(error.__traceback__)
    return found
