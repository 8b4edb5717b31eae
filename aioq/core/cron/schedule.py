"""The two kinds of schedules, as values: made, compared, stored and asked for what comes next.

Why the search is right: on spans of constant offset both rules of `aioq.core.cron` are plain.
A pattern is due wherever the wall clock of a span fits.  A fixed time belongs to the span that
is the first to reach it: what an earlier span has shown is left out, what none has shown is
due as the span begins.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Self, cast

import msgspec

from aioq.core.clock import LONGEST
from aioq.core.cron import fields, rule, zones

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_COMMA = re.compile(r"\s*,\s*")


def crontab(
    minute: fields.Given = "*",
    hour: fields.Given = "*",
    day_of_week: fields.Given = "*",
    day_of_month: fields.Given = "*",
    month_of_year: fields.Given = "*",
    *,
    tz: str | tzinfo | None = None,
) -> "Crontab":
    """Make a schedule from Celery's fields, or from one cron expression.

    Args:
        minute: 0 to 59; as all fields a number, a text such as `"*/15"` or `"0,30-45"`, or a list.
            A text with spaces is a whole cron expression, with seconds first if it has six
            fields, and means what cron means: if both days are given, either will do.
        hour: 0 to 23.
        day_of_week: 0 to 6 from Sunday, 7 is Sunday too; or names: `"mon-fri"`, `"sunday"`.
        day_of_month: 1 to 31. Both days must fit, if both are given.
        month_of_year: 1 to 12, or names.
        tz: the zone of the wall clock, such as "Europe/Paris"; None means the app's.

    Raises:
        ValueError: a field is wrong or the zone unknown, or the schedule never occurs.
    """
    others = (hour, day_of_week, day_of_month, month_of_year)
    zone = zones.name_of(tz)
    if not isinstance(minute, str) or len(_COMMA.sub(",", minute).split()) < 2:
        pairs = zip(fields.FIELDS, (minute, *others), strict=True)
        texts = {field.name: field.text(value) for field, value in pairs}
        # What is left out of the call is left out of what is stored.
        return Crontab(**{name: text for name, text in texts.items() if text != "*"}, tz=zone)
    if others != ("*",) * 4:
        message = (
            f"crontab({minute!r}): an expression says everything, and other fields are given too; "
            "give it alone, or write the minute without spaces"
        )
        raise ValueError(message)
    return Crontab(expression=" ".join(minute.split()).upper(), tz=zone)


def every(seconds: float | timedelta, *, tz: str | tzinfo | None = None) -> "Every":
    """Make a schedule that is due whenever the epoch's age is a multiple of `seconds`.

    So all workers agree on it without asking one another: `every(3600)` is due on the hour, in
    UTC. Rounded to whole milliseconds.

    Args:
        seconds: from 0.001, or a timedelta.
        tz: in which `next` answers; it changes no occurrence.

    Raises:
        ValueError: it is no such number, or the zone is unknown.
    """
    zone = zones.name_of(tz)
    given = cast("object", seconds)  # what its annotation promises is checked here
    if isinstance(given, timedelta):
        given = given.total_seconds()
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 < given <= LONGEST:
        period_ms = round(given * 1000)
        if period_ms > 0:
            return Every(period_ms=period_ms, tz=zone)
    message = f"every({seconds!r}): give seconds from 0.001 to {LONGEST:.0f}, or a timedelta"
    raise ValueError(message)


class Recurrence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all schedules can be asked."""

    tz: str | None = None
    """The IANA name of the zone; None: not yet said, UTC until then."""

    def next(self, after: datetime) -> datetime:
        """Return the first occurrence later than `after`, in the schedule's zone.

        Raises:
            TypeError: `after` is no datetime.
            ValueError: it has no timezone.
        """
        if not isinstance(after, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
            message = f"next({after!r}): give a datetime with a timezone (tzinfo=...)"
            raise TypeError(message)
        if after.utcoffset() is None:
            message = (
                f"next({after.isoformat()}): the moment has no timezone; "
                "pass an aware datetime (tzinfo=...)"
            )
            raise ValueError(message)
        due_ms = self.next_ms((after - _EPOCH) // _MILLISECOND)
        return (_EPOCH + due_ms * _MILLISECOND).astimezone(zones.zone(self.tz))

    def next_ms(self, after_ms: int) -> int:
        """Return the first occurrence later than `after_ms`, in milliseconds since the epoch."""
        raise NotImplementedError

    def occurrences_ms(self, after_ms: int, until_ms: int, most: int) -> list[int]:
        """Return the occurrences later than `after_ms` up to `until_ms`, the earliest `most`."""
        found: list[int] = []
        while len(found) < most and (after_ms := self.next_ms(after_ms)) <= until_ms:
            found.append(after_ms)
        return found

    def within(self, tz: str) -> Self:
        """Return the schedule with its zone settled: its own, else this one.

        Raises:
            ValueError: it is unknown.
        """
        return self if self.tz is not None else msgspec.structs.replace(self, tz=tz)


class Crontab(Recurrence, frozen=True, kw_only=True, omit_defaults=True, tag="crontab"):
    """Moments of a wall clock; made by `crontab`.

    The fields are texts, as `crontab` has put them into order. Decoding checks them again.
    """

    minute: str = "*"
    hour: str = "*"
    day_of_week: str = "*"
    day_of_month: str = "*"
    month_of_year: str = "*"
    expression: str | None = None
    """A cron expression, in place of the fields."""

    def __post_init__(self) -> None:
        zones.zone(self.tz)
        self._rule()

    def next_ms(self, after_ms: int) -> int:
        """Return the first occurrence later than `after_ms`, in milliseconds since the epoch."""
        found = self._rule()
        # A crontab knows whole seconds only: the first one that can be later.
        first = after_ms // 1000 + 1
        if self.tz is None or self.tz == "UTC":
            return found.at_or_after(first) * 1000
        search = _next_fixed if found.fixed else _next_of_pattern
        return search(found, self.tz, first) * 1000

    def _rule(self) -> rule.Rule:
        if self.expression is not None:
            return rule.of_expression(self.expression)
        return rule.of_fields(
            self.minute, self.hour, self.day_of_week, self.day_of_month, self.month_of_year
        )

    def __str__(self) -> str:
        given = [] if self.expression is None else [repr(self.expression)]
        for field in fields.FIELDS:
            text: str = getattr(self, field.name)
            if text != "*":
                given.append(f"{field.name}={text if text.isdecimal() else repr(text)}")
        return f"crontab({', '.join(given + _tz_argument(self.tz))})"


class Every(Recurrence, frozen=True, kw_only=True, omit_defaults=True, tag="every"):
    """Equal steps since the epoch; made by `every`."""

    period_ms: Annotated[int, msgspec.Meta(ge=1)]

    def __post_init__(self) -> None:
        zones.zone(self.tz)

    def next_ms(self, after_ms: int) -> int:
        """Return the first occurrence later than `after_ms`, in milliseconds since the epoch."""
        return (after_ms // self.period_ms + 1) * self.period_ms

    def __str__(self) -> str:
        given = [f"{self.period_ms / 1000:.15g}", *_tz_argument(self.tz)]
        return f"every({', '.join(given)})"


Schedule = Crontab | Every
"""What a schedule is stored as; the tag says which one."""


def _next_of_pattern(due: rule.Rule, tz: str, second: int) -> int:
    """Return the first moment from `second` on whose wall clock fits."""
    while True:
        span = zones.span_at(tz, second)
        found = due.at_or_after(second + span.offset) - span.offset
        if found < span.end:
            return found
        # The wall clocks up to there are known not to fit, which spares the spans of many years.
        # Not so those that a change soon after `second` may set back to before it.
        far = found - 2 * zones.DAY
        second = far if second + zones.DAY <= span.end < far else span.end


def _next_fixed(due: rule.Rule, tz: str, second: int) -> int:
    """Return the first moment from `second` on that is the first to reach a time that fits."""
    span = zones.span_at(tz, second)
    # All times up to here have been shown before the span, or are skipped and due as it begins.
    reached = span.begin + span.before
    first = reached if second == span.begin else max(second + span.offset, reached)
    wall = due.at_or_after(first)
    # No offset is longer than a day, so this span does not lie behind the one that reaches `wall`.
    span = zones.span_at(tz, wall - 2 * zones.DAY)
    while wall >= span.end + span.offset:
        span = zones.span_at(tz, span.end)
    # A time that the change skipped would lie before the span; it is due as the span begins.
    return max(wall - span.offset, span.begin)


def _tz_argument(tz: str | None) -> list[str]:
    return [] if tz is None else [f"tz={tz!r}"]
