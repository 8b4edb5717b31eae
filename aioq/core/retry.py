"""When to try again: the backoff formulas, and the exception that asks for a retry."""

import math
import random
from collections.abc import Callable
from datetime import datetime
from typing import cast

import msgspec

from aioq.core.clock import LONGEST
from aioq.core.errors import ConfigurationError

Spread = Callable[[float, float], float]
"""`random.uniform`, or what a test puts in its place."""


def seconds_of(value: float, name: str) -> float:
    """Check a duration that a task asks for; a negative one is none at all.

    Raises:
        ConfigurationError: it is not a number.
    """
    given = cast("object", value)  # what its annotation promises is checked here
    if not isinstance(given, (int, float)) or given != given or abs(given) == math.inf:  # noqa: PLR0124 - nan
        message = f"{name}={value!r} is no number of seconds"
        raise ConfigurationError(message)
    # Python's integers have no end, a float has: 2 ** 5000 stands for a hundred years.
    return float(min(max(value, 0), LONGEST))


class Retry(Exception):
    """Raise this in a task, or call `ctx.retry()`, to have the job run again later.

    Args:
        exc: the error that made the retry necessary; it becomes the job's error when no
            retry is left. Default: the exception being handled.
        countdown: seconds from now; default: the task's `default_retry_delay`.
        eta: an aware datetime, in place of `countdown`.
        max_retries: replaces the task's limit for this decision.

    Raises:
        ConfigurationError: `eta` is naive.
    """

    def __init__(
        self,
        exc: BaseException | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        max_retries: int | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> None:
        super().__init__(str(exc) if exc is not None else "asked to be retried")
        if eta is not None and eta.tzinfo is None:
            message = f"eta={eta.isoformat()} has no timezone; pass an aware datetime (tzinfo=...)"
            raise ConfigurationError(message)
        self.exc = exc
        self.countdown: float | None = (
            None if countdown is None else seconds_of(countdown, "countdown")
        )
        self.eta = eta
        self.max_retries = max_retries


class Snooze(Exception):
    """What `ctx.snooze(seconds)` raises: run again later, counted as no retry."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"snoozed for {seconds:g} s")
        self.seconds: float = seconds_of(seconds, "snooze")

    def __reduce__(self) -> tuple[type["Snooze"], tuple[float]]:
        return type(self), (self.seconds,)  # out of a child process


class Reject(Exception):
    """What `ctx.reject(reason)` raises: straight to the dead letters."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The retry options of one task, as `decide` needs them."""

    max_retries: int | None = 3
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    default_retry_delay: float = 180
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True

    def catches(self, error: BaseException) -> bool:
        """Tell whether the task asks for a retry on this error by itself."""
        return isinstance(error, self.autoretry_for) and not isinstance(
            error, self.dont_autoretry_for
        )

    def allows(self, retries: int) -> bool:
        """Tell whether one more retry is left after `retries` of them."""
        return self.max_retries is None or retries < self.max_retries

    def delay(self, retries: int, spread: Spread = random.uniform) -> float:
        """Return the seconds until the next try after `retries` earlier retries.

        The exponential form is "full jitter": uniform between 0 and the capped backoff,
        see Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        if self.retry_backoff is False:
            return self.default_retry_delay
        base = self.default_retry_delay if self.retry_backoff is True else self.retry_backoff
        # The exponent is capped first: 2.0 ** 2000 overflows, and no cap is that far away.
        delay = min(base * 2.0 ** min(retries, 64), self.retry_backoff_max)
        return spread(0, delay) if self.retry_jitter else delay


def reconnect_delay(failures: int, spread: Spread = random.uniform) -> float:
    """Return the seconds before attempt `failures + 1` at a server that is away: full jitter."""
    return spread(0, min(0.05 * 2.0 ** min(failures, 10), 2.0))
