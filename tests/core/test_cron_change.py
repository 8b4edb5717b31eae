"""Schedules while clocks are changed, compared with counting minutes one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioq.core.cron import Crontab, crontab

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

CHANGES = [
    ("Europe/Paris", "2024-03-31T01:00"),
    ("Europe/Paris", "2024-10-27T01:00"),
    ("America/New_York", "2024-03-10T07:00"),
    ("America/New_York", "2024-11-03T06:00"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),  # midnight comes, and goes back to 23:00
    ("America/Sao_Paulo", "2018-11-04T03:00"),  # there is no midnight
    ("Australia/Lord_Howe", "2024-04-06T15:00"),  # half an hour
    ("Australia/Lord_Howe", "2024-10-05T15:30"),
    ("Africa/Cairo", "2024-04-25T22:00"),
    ("Africa/Cairo", "2024-10-31T21:00"),
    ("Asia/Beirut", "2024-03-30T22:00"),
    ("Asia/Beirut", "2024-10-26T21:00"),
    ("Pacific/Apia", "2011-12-30T10:00"),  # a whole day is left out
    ("Pacific/Apia", "2012-03-31T14:00"),
    ("Pacific/Auckland", "2024-04-06T14:00"),
    ("Pacific/Auckland", "2024-09-28T14:00"),
    ("America/St_Johns", "2010-03-14T03:31"),
    ("America/St_Johns", "2010-11-07T02:31"),  # one minute of Sunday, then Saturday once more
    ("Pacific/Kwajalein", "1969-09-30T13:00"),  # 23 hours are repeated
    ("Africa/Casablanca", "2024-04-14T02:00"),
]
EVERY_CALENDAR = [date(2000, 1, 1) + timedelta(days=n) for n in range(28 * 366)]
QUIET = [("Asia/Kolkata", "2024-03-31T01:00"), ("UTC", "2024-10-27T01:00")]


class Field:
    """What may stand in a field, written down plainly: `(text, numbers)` for each kind."""

    def __init__(
        self, least: int, most: int, names: str = "", *, often: Sequence[int] = ()
    ) -> None:
        self.numbers = list(range(least, most + 1))
        self.names = dict(zip(names.split(), self.numbers, strict=False))
        self.often = list(often)

    def walk(self, first: int, last: int) -> list[int]:
        """Count from first to last as a clock does, round the end if need be."""
        numbers = [first]
        while numbers[-1] != last:
            place = self.numbers.index(numbers[-1]) + 1
            numbers.append(self.numbers[place % len(self.numbers)])
        return numbers

    def number(self) -> st.SearchStrategy[int]:
        anything = st.sampled_from(self.numbers)
        return st.sampled_from(self.often) | anything if self.often else anything

    def part(self, *, wraps: bool) -> st.SearchStrategy[tuple[str, list[int]]]:
        step = st.integers(1, len(self.numbers))
        ends = st.tuples(self.number(), self.number())
        if not wraps:
            ends = ends.map(sorted).map(tuple)
        one = self.number().map(lambda n: (str(n), [n]))
        run = ends.map(lambda e: (f"{e[0]}-{e[1]}", self.walk(*e)))
        jumps = st.tuples(run, step).map(lambda r: (f"{r[0][0]}/{r[1]}", r[0][1][:: r[1]]))
        stars = step.map(lambda n: (f"*/{n}", self.numbers[::n]))
        kinds = [one, one, run, jumps, stars]
        if self.names:
            kinds.append(st.sampled_from(list(self.names.items())).map(lambda n: (n[0], [n[1]])))
        return st.one_of(kinds)

    def texts(self, *, wraps: bool, star: bool = True) -> st.SearchStrategy[tuple[str, set[int]]]:
        parts = st.lists(self.part(wraps=wraps), min_size=1, max_size=3)
        drawn = parts.map(lambda p: (",".join(t for t, _ in p), {n for _, ns in p for n in ns}))
        return st.just(("*", set(self.numbers))) | drawn if star else drawn


MINUTES = Field(0, 59, often=[0, 1, 15, 30, 59])
HOURS = Field(0, 23, often=[0, 1, 2, 3, 23])
MONTHS = Field(1, 12, "jan feb mar apr may jun jul aug sep oct nov dec")
WEEKDAYS = Field(0, 6, "sun mon tue wed thu fri sat")


@dataclass(frozen=True)
class Asked:
    """A crontab as it is asked for, and what it asks for."""

    fields: tuple[str, ...]
    expression: bool
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    fixed: bool

    def made(self, tz: str) -> Crontab:
        if self.expression:
            return crontab(" ".join(self.fields), tz=tz)
        minute, hour, weekday, day, month = self.fields
        return crontab(minute, hour, weekday, day, month, tz=tz)

    def fits(self, wall: datetime) -> bool:
        """Tell whether a wall clock that reads so is meant."""
        if wall.second not in self.seconds or wall.minute not in self.minutes:
            return False
        return wall.hour in self.hours and self.fits_day(wall)

    def fits_day(self, day: date) -> bool:
        """Tell whether something is meant to happen on this day."""
        both = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (any(both) if self.either else all(both))


@st.composite
def asked(draw: st.DrawFn, days: Sequence[int], month: int, *, seconds: bool = False) -> Asked:
    """Draw a crontab that often has something to say about these days."""
    expression = seconds or draw(st.booleans())
    here = Field(1, 31, often=days)
    second, second_numbers = "", {0}
    if seconds:
        second, second_numbers = draw(MINUTES.texts(wraps=False))
    minute, minutes = draw(MINUTES.texts(wraps=not expression))
    hour, hours = draw(HOURS.texts(wraps=not expression))
    # Most schedules are for all days, and those that are not must sometimes fit.
    day, day_numbers = draw(here.texts(wraps=not expression) | st.just(("*", set(here.numbers))))
    weekday, weekdays = draw(WEEKDAYS.texts(wraps=not expression) | st.just(("*", set(range(7)))))
    months = draw(st.just(("*", set(range(1, 13)))) | st.just((str(month), {month})))
    cron = ((second,) if seconds else ()) + (minute, hour, day, months[0], weekday)
    return Asked(
        fields=cron if expression else (minute, hour, weekday, day, months[0]),
        expression=expression,
        seconds=frozenset(second_numbers),
        minutes=frozenset(minutes),
        hours=frozenset(hours),
        days=frozenset(day_numbers),
        months=frozenset(months[1]),
        weekdays=frozenset(weekdays),
        # Debian's cron looks at the first character only, and takes `*/2` for a star too.
        either=expression and not day.startswith("*") and not weekday.startswith("*"),
        fixed=not any(sign in minute + hour for sign in "*/"),
    )


class Window:
    """A stretch of time in a zone, looked at step by step.

    Args:
        reach: how far to each side of `middle`; what is said of the inner half is right, since
            no change moves a clock by more than the outer half.
    """

    def __init__(self, tz: str, middle: str, reach: timedelta, step: timedelta) -> None:
        self.tz = tz
        here = ZoneInfo(tz)
        self.middle = datetime.fromisoformat(middle).replace(tzinfo=UTC)
        self.begin, self.end = self.middle - reach / 2, self.middle + reach / 2
        count = 2 * reach // step
        self.shown = [
            (moment, moment.astimezone(here).replace(tzinfo=None))
            for moment in (self.middle - reach + step * n for n in range(count))
        ]
        first: dict[datetime, datetime] = {}
        for moment, wall in self.shown:
            first.setdefault(wall, moment)
        # What no clock shows falls to the next time that one does.
        wall, latest = max(first), min(first)
        self.due: list[tuple[datetime, datetime]] = []
        moment = first[wall]
        while wall >= latest:
            moment = first.get(wall, moment)
            self.due.append((wall, moment))
            wall -= step
        inner = [wall for moment, wall in self.shown if self.begin < moment <= self.end]
        self.days = sorted({wall.day for wall in inner})
        self.month = inner[0].month

    def occurrences(self, wanted: Asked) -> list[int]:
        """Return all that is due in the inner half, in milliseconds since the epoch."""
        if wanted.fixed:
            moments = {moment for wall, moment in self.due if wanted.fits(wall)}
        else:
            moments = {moment for moment, wall in self.shown if wanted.fits(wall)}
        return sorted(ms(moment) for moment in moments if self.begin < moment <= self.end)


def ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


MADE: dict[tuple[str, ...], Window] = {}


def window(tz: str, middle: str) -> Window:
    if (tz, middle) not in MADE:
        MADE[tz, middle] = Window(tz, middle, timedelta(hours=48), MINUTE)
    return MADE[tz, middle]


@pytest.mark.parametrize(("tz", "middle"), CHANGES)
def test_the_zones_change_when_these_tests_believe(tz: str, middle: str) -> None:
    change = datetime.fromisoformat(middle).replace(tzinfo=UTC)
    before, after = (change - SECOND).astimezone(ZoneInfo(tz)), change.astimezone(ZoneInfo(tz))
    assert before.utcoffset() != after.utcoffset()


@pytest.mark.parametrize(("tz", "middle"), CHANGES + QUIET)
@settings(max_examples=10)
@given(data=st.data())
def test_a_crontab_is_due_whenever_counting_the_minutes_finds_it(
    data: st.DataObject, tz: str, middle: str
) -> None:
    seen = window(tz, middle)
    wanted = data.draw(asked(seen.days, seen.month))
    try:
        schedule = wanted.made(tz)
    except ValueError:
        assert not any(wanted.fits_day(day) for day in EVERY_CALENDAR)
        return
    expected = seen.occurrences(wanted)
    begin, end = ms(seen.begin), ms(seen.end)
    assert schedule.occurrences_ms(begin, end, 10_000) == expected, str(schedule)
    change = ms(seen.middle)
    afters = data.draw(st.lists(st.integers(begin, end - 1), min_size=3, max_size=3))
    for after in [*afters, change - 1001, change - 1000, change - 1, change, change + 1]:
        following = schedule.next_ms(after)
        assert following > after
        assert [following][: following <= end] == [at for at in expected if at > after][:1]


@pytest.mark.parametrize(
    ("tz", "middle"),
    [
        ("Europe/Paris", "2024-10-27T01:00"),
        ("Europe/Paris", "2024-03-31T01:00"),
        ("Australia/Lord_Howe", "2024-04-06T15:00"),
        ("America/St_Johns", "2010-11-07T02:31"),
    ],
)
@settings(max_examples=10)
@given(data=st.data())
def test_so_it_is_with_seconds(data: st.DataObject, tz: str, middle: str) -> None:
    key = (tz, middle, "seconds")
    if key not in MADE:
        MADE[key] = Window(tz, middle, timedelta(hours=2.5), SECOND)
    seen = MADE[key]
    wanted = data.draw(asked(seen.days, seen.month, seconds=True))
    try:
        schedule = wanted.made(tz)
    except ValueError:
        assert not any(wanted.fits_day(day) for day in EVERY_CALENDAR)
        return
    expected = seen.occurrences(wanted)
    assert schedule.occurrences_ms(ms(seen.begin), ms(seen.end), 300) == expected[:300]


PARIS_SKIPS = "2024-03-30T23:00", "2024-03-31T02:30"
PARIS_REPEATS = "2024-10-26T22:00", "2024-10-27T03:30"


def shown(schedule: Crontab, span: tuple[str, str]) -> str:
    """Return what the clock shows at all occurrences in a span of UTC."""
    begin, end = (ms(datetime.fromisoformat(moment).replace(tzinfo=UTC)) for moment in span)
    here = ZoneInfo(schedule.tz or "UTC")
    moments = schedule.occurrences_ms(begin, end, 1000)
    return " ".join(
        (EPOCH + SECOND * (m / 1000)).astimezone(here).strftime("%H:%M") for m in moments
    )


@pytest.mark.parametrize(
    ("schedule", "skipped", "repeated"),
    [
        (crontab(30, 2), "03:00", "02:30"),
        (crontab([0, 30], 2), "03:00", "02:00 02:30"),
        (crontab(0, "1-3"), "01:00 03:00", "01:00 02:00 03:00"),
        (crontab(0, "*"), "01:00 03:00 04:00", "01:00 02:00 02:00 03:00 04:00"),
        (
            crontab("*/30"),
            "00:30 01:00 01:30 03:00 03:30 04:00 04:30",
            "00:30 01:00 01:30 02:00 02:30 02:00 02:30 03:00 03:30 04:00 04:30",
        ),
        (crontab("*/30", 2), "", "02:00 02:30 02:00 02:30"),
        (crontab(15, "*/2"), "00:15 04:15", "00:15 02:15 02:15 04:15"),
        (crontab(15, "0-4/2"), "00:15 04:15", "00:15 02:15 02:15 04:15"),
        (crontab("0-59", 2), "03:00", " ".join(f"02:{minute:02}" for minute in range(60))),
        (crontab("30 2 * * *"), "03:00", "02:30"),
        (crontab("0,20-22 2 * * *"), "03:00", "02:00 02:20 02:21 02:22"),
        (crontab("*/30 2 * * *"), "", "02:00 02:30 02:00 02:30"),
        (crontab("0 30 2 * * *"), "03:00", "02:30"),
        (crontab("*/30 30 2 * * *"), "03:00", "02:30 02:30"),
        (crontab("0 */30 2 * * *"), "", "02:00 02:30 02:00 02:30"),
    ],
    ids=str,
)
def test_a_fixed_time_is_due_once_and_a_pattern_whenever_it_fits(
    schedule: Crontab, skipped: str, repeated: str
) -> None:
    there = schedule.within("Europe/Paris")
    assert shown(there, PARIS_SKIPS) == skipped
    assert shown(there, PARIS_REPEATS) == repeated


# The clocks of St. John's were changed at one minute past midnight.
@pytest.mark.parametrize(("tz", "middle"), [at for at in CHANGES if at[0] != "America/St_Johns"])
def test_half_hours_are_half_an_hour_apart_throughout(tz: str, middle: str) -> None:
    seen = window(tz, middle)
    due = crontab("*/30", tz=tz).occurrences_ms(ms(seen.begin), ms(seen.end), 1000)
    assert due == list(range(ms(seen.begin) + 30 * 60_000, ms(seen.end) + 1, 30 * 60_000))


APIA, CAIRO, PARIS = "Pacific/Apia", "Africa/Cairo", "Europe/Paris"
SAO_PAULO, LORD_HOWE = "America/Sao_Paulo", "Australia/Lord_Howe"
AT_0250, AT_0250_AGAIN = "2024-10-27T02:50+02:00", "2024-10-27T02:50+01:00"


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        # The skipped day has a time for it, and a day of its own; both fall to its end.
        (crontab(0, 9, tz=APIA), "2011-12-29T09:00-10:00", "2011-12-31T00:00+14:00"),
        (crontab(0, 9, "*", 30, tz=APIA), "2011-12-01T00:00-10:00", "2011-12-31T00:00+14:00"),
        (crontab(0, "*/9", "*", 30, tz=APIA), "2011-12-01T00:00-10:00", "2012-01-30T00:00+14:00"),
        # There is no midnight, or no 02:15.
        (crontab(0, 0, tz=CAIRO), "2024-04-25T12:00+02:00", "2024-04-26T01:00+03:00"),
        (crontab(0, 0, tz=SAO_PAULO), "2018-11-03T12:00-03:00", "2018-11-04T01:00-02:00"),
        (crontab(15, 2, tz=LORD_HOWE), "2024-10-05T12:00+10:30", "2024-10-06T02:30+11:00"),
        (crontab("*", 3, tz=LORD_HOWE), "2024-10-06T01:00+10:30", "2024-10-06T03:00+11:00"),
        # Twice 23:30 on one day, and twice 01:40.
        (crontab(30, 23, tz=SAO_PAULO), "2018-02-17T23:30-02:00", "2018-02-18T23:30-03:00"),
        (crontab(40, "*", tz=LORD_HOWE), "2024-04-07T01:40+11:00", "2024-04-07T01:40+10:30"),
        # Asked in the last second before the change.
        (crontab(30, 2, tz=PARIS), "2024-03-31T01:59:59+01:00", "2024-03-31T03:00+02:00"),
        (crontab(30, 2, tz=PARIS), "2024-03-31T03:00:00+02:00", "2024-04-01T02:30+02:00"),
        (crontab(30, 2, tz=PARIS), "2024-10-27T02:59:59+02:00", "2024-10-28T02:30+01:00"),
        # Asked inside the repeated hour, when its first 02:30 has passed and its second will come.
        (crontab(30, 2, tz=PARIS), "2024-10-27T02:10+01:00", "2024-10-28T02:30+01:00"),
        (crontab(30, "2,*", tz=PARIS), "2024-10-27T02:10+01:00", "2024-10-27T02:30+01:00"),
        # What is years away must not hide what a change brings back in a moment.
        (crontab("*/15", 2, 0, 27, 10, tz=PARIS), AT_0250, "2024-10-27T02:00+01:00"),
        (crontab("*/15", 2, 0, 27, 10, tz=PARIS), AT_0250_AGAIN, "2030-10-27T02:00+02:00"),
        (crontab("*/15", 12, 1, 29, 2, tz=PARIS), AT_0250, "2044-02-29T12:00+01:00"),
        (crontab(15, 12, 1, 29, 2, tz=PARIS), AT_0250, "2044-02-29T12:15+01:00"),
    ],
    ids=str,
)
def test_changes_of_every_kind(schedule: Crontab, after: str, due: str) -> None:
    following = schedule.next(datetime.fromisoformat(after))
    assert following.isoformat(timespec="minutes") == due
