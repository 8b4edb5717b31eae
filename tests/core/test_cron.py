"""Schedules as values: asked for what comes next, compared, written and stored."""

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aioq
from aioq.core.cron import Crontab, Every, Schedule, crontab, every

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 4_102_444_800_000)
"""Until the year 2100, in milliseconds."""
PERIODS = st.integers(1, 10**9).map(lambda ms: ms / 1000)
ZONES = st.sampled_from(["Europe/Paris", "America/New_York", "Asia/Kolkata", "UTC", None])

SCHEDULES = [
    (crontab(), "crontab()"),
    (crontab(minute="*/15"), "crontab(minute='*/15')"),
    (
        crontab(hour=7, minute=30, day_of_week=1, tz="Europe/Paris"),
        "crontab(minute=30, hour=7, day_of_week=1, tz='Europe/Paris')",
    ),
    (
        crontab(0, {17, 8}, "mon-fri", "1-7", "jan"),
        "crontab(minute=0, hour='8,17', day_of_week='mon-fri', day_of_month='1-7', "
        "month_of_year='jan')",
    ),
    (crontab("0 0 * * *"), "crontab('0 0 * * *')"),
    (crontab("0 0 0 * * mon", tz="Asia/Kolkata"), "crontab('0 0 0 * * MON', tz='Asia/Kolkata')"),
    (every(30), "every(30)"),
    (every(0.25), "every(0.25)"),
    (every(timedelta(days=1, milliseconds=1), tz=UTC), "every(86400.001, tz='UTC')"),
]


@pytest.mark.parametrize(("schedule", "text"), SCHEDULES, ids=str)
def test_a_schedule_reads_as_it_is_written(schedule: Schedule, text: str) -> None:
    assert str(schedule) == text
    makers: dict[str, Any] = {"crontab": aioq.crontab, "every": aioq.every}
    assert eval(text, makers) == schedule  # noqa: S307 - the texts above


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in SCHEDULES], ids=str)
def test_a_schedule_survives_being_stored(schedule: Schedule) -> None:
    stored = msgspec.msgpack.encode(schedule)
    again = msgspec.msgpack.decode(stored, type=Schedule)
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert type(again) is type(schedule)
    assert again.next_ms(10**12) == schedule.next_ms(10**12)


def test_only_what_is_said_is_stored() -> None:
    assert msgspec.to_builtins(crontab(0)) == {"type": "crontab", "minute": "0"}
    assert msgspec.to_builtins(every(1)) == {"type": "every", "period_ms": 1000}


@pytest.mark.parametrize(
    "stored",
    [
        {"type": "crontab", "minute": "75"},
        {"type": "crontab", "expression": "0 0 30 2 *"},
        {"type": "crontab", "tz": "Mars/Olympus"},
        {"type": "every", "period_ms": 0},
        {"type": "every", "period_ms": 5, "tz": "Mars/Olympus"},
        {"type": "solar"},
    ],
)
def test_what_was_stored_is_checked(stored: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(stored, Schedule)


def test_schedules_are_values() -> None:
    same = {crontab(0, 7, tz="UTC"), crontab("0", [7], tz=UTC), crontab(0, 7, tz=ZoneInfo("UTC"))}
    assert len(same) == 1
    different = {crontab(0, 7), crontab(0, 8), crontab("0 7 * * *"), every(1), every(1, tz="UTC")}
    assert len(different) == 5
    frozen: Any = every(1)
    with pytest.raises(AttributeError):
        frozen.period_ms = 5


@given(PERIODS, ZONES, MOMENTS)
def test_every_is_aligned_to_the_epoch(seconds: float, tz: str | None, after: int) -> None:
    schedule = every(seconds, tz=tz)
    following = schedule.next_ms(after)
    period_ms = round(seconds * 1000)
    assert after < following <= after + period_ms
    assert following % period_ms == 0


def test_every_is_rounded_to_whole_milliseconds() -> None:
    assert every(1 / 3) == every(0.333)
    assert every(0.0005001) == every(0.001)


@pytest.mark.parametrize(
    "wrong",
    [0, -1, 0.0004, True, None, "30", float("nan"), float("inf"), 10**400, timedelta(0), 4e9],
    ids=lambda value: str(value)[:9],
)
def test_every_takes_a_number_of_seconds(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"every\(.*\): give seconds from 0.001 to 3153600000"):
        every(wrong)


@given(
    st.sampled_from([schedule for schedule, _ in SCHEDULES]),
    ZONES,
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.timezones()),  # noqa: DTZ001 - what Hypothesis asks for
)
def test_the_next_moment_is_aware_and_strictly_later(
    schedule: Schedule, tz: str | None, after: datetime
) -> None:
    there = schedule.within(tz) if tz else schedule
    following = there.next(after)
    assert following.astimezone(UTC) > after.astimezone(UTC)
    assert str(following.tzinfo) == (there.tz or "UTC")
    following_ms = (following - EPOCH) // timedelta(milliseconds=1)
    assert following_ms == there.next_ms((after - EPOCH) // timedelta(milliseconds=1))
    # Nothing lies between: from a moment before it, it comes again.
    assert there.next_ms(following_ms - 1) == following_ms


@given(st.sampled_from([schedule for schedule, _ in SCHEDULES]), MOMENTS, st.integers(0, 20))
def test_occurrences_are_one_next_after_another(schedule: Schedule, after: int, most: int) -> None:
    expected = [after]
    for _ in range(most):
        expected.append(schedule.next_ms(expected[-1]))
    assert schedule.occurrences_ms(after, 10**15, most) == expected[1:]
    assert schedule.occurrences_ms(after, expected[-1], 1000) == expected[1:]
    if most:
        assert schedule.occurrences_ms(after, expected[-1] - 1, 1000) == expected[1:-1]


def test_threads_may_ask_one_schedule_at_once() -> None:
    schedule = crontab("7 */5 * * MON", tz="Europe/Paris")
    moments = [10**12 + n * 10**8 for n in range(2000)]
    expected = [schedule.next_ms(moment) for moment in moments]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(lambda: list(map(schedule.next_ms, moments))) for _ in range(4)]
    finally:
        sys.setswitchinterval(interval)
    assert [done.result() for done in asked] == [expected] * 4


def test_a_moment_without_a_timezone_is_refused() -> None:
    for schedule in (crontab(), every(1)):
        with pytest.raises(
            ValueError, match=r"next\(2025-06-01T00:00:00\): the moment has no time"
        ):
            schedule.next(datetime(2025, 6, 1))  # noqa: DTZ001 - the mistake
        with pytest.raises(TypeError, match=r"next\('today'\): give a datetime with a timezone"):
            schedule.next("today")  # pyright: ignore[reportArgumentType]


def test_a_schedule_is_due_in_its_zone() -> None:
    noon = crontab(0, 12)
    after = datetime(2025, 6, 1, tzinfo=UTC)
    assert noon.next(after).isoformat() == "2025-06-01T12:00:00+00:00"
    paris = noon.within("Europe/Paris")
    assert paris.next(after).isoformat() == "2025-06-01T12:00:00+02:00"
    assert paris.within("Asia/Kolkata") is paris, "it has one already"
    assert paris == crontab(0, 12, tz=ZoneInfo("Europe/Paris"))
    assert every(60).within("Asia/Kolkata").next(after).isoformat() == "2025-06-01T05:31:00+05:30"


@pytest.mark.parametrize("wrong", ["Mars/Olympus", "", "../etc/passwd", "Europe", "europe paris"])
def test_an_unknown_zone_is_refused(wrong: str) -> None:
    message = f"tz='{wrong}' is unknown; give an IANA name such as"
    with pytest.raises(ValueError, match=message):
        crontab(tz=wrong)
    with pytest.raises(ValueError, match=message):
        every(5, tz=wrong)
    with pytest.raises(ValueError, match=message):
        crontab().within(wrong)


@pytest.mark.parametrize("nameless", [timezone(timedelta(hours=2)), 5])
def test_a_zone_without_a_name_is_refused(nameless: timezone) -> None:
    with pytest.raises(ValueError, match="has no IANA name; give one such as 'Europe/Paris'"):
        crontab(tz=nameless)


def test_the_public_names_make_them() -> None:
    assert isinstance(aioq.crontab(0, 0), Crontab)
    assert isinstance(aioq.every(30), Every)
