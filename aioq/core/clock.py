"""Moments and durations at the border: floats and datetimes outside, whole milliseconds inside.

Only the server's clock decides anything shared.  These functions convert; none of them
asks what time it is.
"""

import math
from datetime import UTC, datetime, timedelta, tzinfo

from aioq.core.errors import ConfigurationError

LONGEST = 100 * 365 * 24 * 3600.0
"""Seconds of the longest duration, a hundred years: what is longer means "for ever"."""


def milliseconds(seconds: float) -> int:
    """Round a duration up to whole milliseconds, so that nothing runs early (G6).

    What is longer than `LONGEST` is cut to it, such as a backoff of 2 ** 2000 seconds.

    Raises:
        ConfigurationError: it is not a number.
    """
    if math.isnan(seconds):
        message = f"{seconds!r} is no number of seconds"
        raise ConfigurationError(message)
    seconds = min(seconds, LONGEST)
    # Half a microsecond of slack: 0.1 s must not become 101 ms through binary fractions.
    return math.ceil(seconds * 1000 - 5e-4)


def moment_ms(moment: datetime, timezone: tzinfo | None) -> int:
    """Return milliseconds since the epoch, rounded up.

    Raises:
        ConfigurationError: `moment` is naive and no timezone says what it means.
    """
    if moment.tzinfo is None:
        if timezone is None:
            message = (
                f"the moment {moment.isoformat()} has no timezone; "
                "pass an aware datetime (tzinfo=...), or set Settings.timezone"
            )
            raise ConfigurationError(message)
        moment = moment.replace(tzinfo=timezone)
    since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return -(-since_epoch // timedelta(milliseconds=1))  # floor of the negative: rounded up


def from_ms(ms: int) -> datetime:
    """Return the aware datetime, in UTC, of milliseconds since the epoch."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
