"""What a crontab says of a wall clock, without any zone: which moment fits next.

A wall clock is counted in seconds since 1970-01-01 00:00 as it reads, so that arithmetic on
it never meets a change of the offset.  cronsim searches, and is told that it is in UTC: its own
handling of changes goes by a leading `*`, which is lost where Celery's fields become numbers,
takes all changes for whole hours, and inside a repeated hour answers with what has passed.
"""

import copy
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from aioq.core.cron import fields

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_SAMPLE = datetime(2000, 1, 1, tzinfo=UTC)
"""cronsim looks 50 years ahead.  From here it sees all calendars there are, leap years
of every weekday included."""

_RANGE_OF_ONE = re.compile(r"(?<![^\s,])(\w+)-\1/0*[1-9][0-9]*(?![^\s,])")
"""`5-5/2` is 5 to cron; cronsim would go on from 5 in steps of 2, as it does for `5/2`."""

_CRON_FIELDS = (
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L for the last day or LW for the last weekday"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT, MON#2 for the second Monday or 5L for the last Friday"),
)


class Rule:
    """The moments of a wall clock that fit.

    Args:
        simulator: made for UTC; never moved, only copied.
        fixed: whether minute and hour are fixed, see `aioq.core.cron`.
    """

    def __init__(self, simulator: CronSim, *, fixed: bool) -> None:
        self._simulator = simulator
        self.fixed = fixed

    def at_or_after(self, wall: int) -> int:
        """Return the first moment that fits, `wall` itself included."""
        simulator = copy.copy(self._simulator)  # its fields stay parsed, and threads apart
        simulator.dt = _EPOCH + wall * _SECOND
        simulator.advance()
        return (simulator.dt - _EPOCH) // _SECOND


@lru_cache(maxsize=4096)
def of_expression(expression: str) -> Rule:
    """Read a cron expression; the meaning is that of Debian's cron.

    Raises:
        ValueError: naming the field and its value, or because it never occurs.
    """
    parts = expression.split()
    if len(parts) not in {5, 6}:
        message = (
            f"crontab({expression!r}) has {len(parts)} fields; a cron expression has 5 (minute, "
            "hour, day of month, month, day of week), or 6 with the second before them"
        )
        raise ValueError(message)
    known = _CRON_FIELDS[-len(parts) :]
    for place, (part, (name, allowed)) in enumerate(zip(parts, known, strict=True)):
        alone = ["*"] * len(parts)
        alone[place] = part
        if _simulator(" ".join(alone)) is None:
            message = (
                f"crontab({expression!r}): the {name} {part!r} is wrong; "
                f"give {allowed}; ranges go upwards, as in 2-5"
            )
            raise ValueError(message)
    return _rule(_simulator(expression), parts[-5], parts[-4], f"crontab({expression!r})")


@lru_cache(maxsize=4096)
def of_fields(minute: str, hour: str, day_of_week: str, day_of_month: str, month: str) -> Rule:
    """Read Celery's fields, each a text; both days must fit.

    Raises:
        ValueError: naming the field and its value, or because they never occur together.
    """
    texts = (minute, hour, day_of_week, day_of_month, month)
    numbers = [
        ",".join(map(str, field.numbers(text)))
        for field, text in zip(fields.FIELDS, texts, strict=True)
    ]
    minutes, hours, weekdays, days, months = numbers
    simulator = _simulator(f"{minutes} {hours} {days} {months} {weekdays}")
    if simulator is not None:
        # Two lists of days would mean "either" to cron; Celery means "both".
        simulator.day_and = True
    label = (
        f"crontab: day_of_month={day_of_month!r}, month_of_year={month!r}, "
        f"day_of_week={day_of_week!r}"
    )
    return _rule(simulator, minute, hour, label)


def _simulator(expression: str) -> CronSim | None:
    try:
        return CronSim(_RANGE_OF_ONE.sub(r"\1", expression), _SAMPLE)
    except (CronSimError, ValueError):
        return None


def _rule(simulator: CronSim | None, minute: str, hour: str, label: str) -> Rule:
    fixed = not set("*/") & set(minute + hour)
    if simulator is not None:
        rule = Rule(simulator, fixed=fixed)
        try:
            rule.at_or_after((_SAMPLE - _EPOCH) // _SECOND)
        except StopIteration:
            simulator = None
        else:
            return rule
    message = f"{label}: there is no such day; check the days against the months"
    raise ValueError(message)
