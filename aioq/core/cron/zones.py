"""Timezones as spans of constant offset: the only place that asks what a wall clock shows.

Between two changes of a zone's offset, its wall clock is a plain count of seconds.  So a
question about a zone is one or two questions about spans, whatever the change is like.
"""

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = 24 * 3600
_CHUNK = 365 * DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """A time in which an offset does not change; in seconds since the epoch."""

    begin: int
    end: int
    """The first second that does not belong to it."""
    offset: int
    """Seconds that the wall clock is ahead of UTC."""
    before: int
    """The offset of the second before `begin`."""


def name_of(tz: str | tzinfo | None) -> str | None:
    """Return the IANA name of a zone.

    Raises:
        ValueError: it is unknown, or has no name.
    """
    given = cast("object", tz)  # what its annotation promises is checked here
    if given is None:
        return None
    if given is UTC:
        return "UTC"
    name = given.key if isinstance(given, ZoneInfo) else given
    if not isinstance(name, str):
        message = f"tz={tz!r} has no IANA name; give one such as 'Europe/Paris', or a ZoneInfo"
        raise ValueError(message)  # noqa: TRY004 - one kind of error for what a user gives
    zone(name)
    return name


@lru_cache(maxsize=1024)
def zone(name: str | None) -> tzinfo:
    """Return the zone of a name; of None: UTC.

    Raises:
        ValueError: it is unknown.
    """
    if name is None or name == "UTC":
        return UTC  # also where there is no timezone database
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = (
            f"tz={name!r} is unknown; give an IANA name such as 'Europe/Paris' "
            "(and install `tzdata` where the system has no timezones)"
        )
        raise ValueError(message) from None


def span_at(name: str, second: int) -> Span:
    """Return the span that a moment is in; long ones come in pieces of about a year."""
    spans = _spans(name, second // _CHUNK)
    return spans[bisect_right(spans, second, key=lambda span: span.begin) - 1]


@lru_cache(maxsize=4096)
def _spans(name: str, chunk: int) -> tuple[Span, ...]:
    """Return the spans of a chunk of time, found by asking once a day.

    No zone has ever changed its offset twice within three days.
    """
    here = zone(name)
    begin, end = chunk * _CHUNK, (chunk + 1) * _CHUNK
    begins = [begin]
    for day in range(begin, end, DAY):
        old = _offset(here, day)
        if _offset(here, day + DAY) != old:
            seconds = range(day, day + DAY)
            # The first second of the new offset; it may be the next chunk's.
            change = day + bisect_left(seconds, 1, key=lambda at: _offset(here, at) != old)
            begins += [change] if change < end else []
    return tuple(
        Span(first, after, _offset(here, first), _offset(here, first - 1))
        for first, after in zip(begins, [*begins[1:], end], strict=True)
    )


def _offset(here: tzinfo, second: int) -> int:
    offset = (_EPOCH + timedelta(seconds=second)).astimezone(here).utcoffset()
    return 0 if offset is None else offset // timedelta(seconds=1)
