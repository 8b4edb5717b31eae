"""What the fields of a crontab mean: Celery's by themselves, cron's in one expression."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from aioq.core.cron import Crontab, crontab, fields
from aioq.core.cron.fields import Given

JUNE = datetime(2025, 6, 1, tzinfo=UTC)
"""A Sunday, and the first of a month of 30 days."""


def due(schedule: Crontab, *, days: int = 1, after: datetime = JUNE) -> list[datetime]:
    """Return what is due in some days that begin with `after`."""
    begin = round(after.timestamp() * 1000)
    moments = schedule.occurrences_ms(begin - 1, begin + days * 24 * 3_600_000 - 1, 10_000)
    return [datetime.fromtimestamp(moment / 1000, UTC) for moment in moments]


def hours(schedule: Crontab) -> list[int]:
    return [moment.hour for moment in due(schedule)]


def days(schedule: Crontab, after: datetime = JUNE) -> list[int]:
    return [moment.day for moment in due(schedule, days=30, after=after)]


def test_the_examples_of_celerys_manual() -> None:
    assert len(due(crontab())) == 24 * 60
    assert due(crontab(minute=0, hour=0)) == [JUNE]
    every_third = [0, 3, 6, 9, 12, 15, 18, 21]
    assert hours(crontab(minute=0, hour="*/3")) == every_third
    assert hours(crontab(minute=0, hour="0,3,6,9,12,15,18,21")) == every_third
    assert [moment.minute for moment in due(crontab(minute="*/15"))] == [0, 15, 30, 45] * 24
    sundays = due(crontab(day_of_week="sunday"), days=7)
    assert sundays == due(crontab()), "every minute (!) of it"
    assert sundays == due(crontab(minute="*", hour="*", day_of_week="sun"), days=7)
    some = due(crontab(minute="*/10", hour="3,17,22", day_of_week="thu,fri"), days=7)
    assert {(moment.day, moment.hour) for moment in some} == {
        (day, hour) for day in (5, 6) for hour in (3, 17, 22)
    }
    assert [moment.minute for moment in some] == [0, 10, 20, 30, 40, 50] * 6
    but = {1, 5, 7, 11, 13, 17, 19, 23}
    assert hours(crontab(minute=0, hour="*/2,*/3")) == [n for n in range(24) if n not in but]
    assert hours(crontab(minute=0, hour="*/5")) == [0, 5, 10, 15, 20]
    assert hours(crontab(minute=0, hour="*/3,8-17")) == [0, 3, 6, *range(8, 18), 18, 21]
    assert days(crontab(0, 0, day_of_month="2")) == [2]
    assert days(crontab(0, 0, day_of_month="2-30/2")) == list(range(2, 31, 2))
    assert days(crontab(0, 0, day_of_month="1-7,15-21")) == [*range(1, 8), *range(15, 22)]
    may = crontab(0, 0, day_of_month="11", month_of_year="5")
    assert due(may, days=365) == [datetime(2026, 5, 11, tzinfo=UTC)]
    quarters = due(crontab(0, 0, month_of_year="*/3"), days=365)
    assert {moment.month for moment in quarters} == {1, 4, 7, 10}
    assert len(quarters) == 31 + 30 + 31 + 31
    monday = crontab(hour=7, minute=30, day_of_week=1)
    assert monday.next(JUNE) == datetime(2025, 6, 2, 7, 30, tzinfo=UTC)


def test_both_days_must_fit() -> None:
    first_and_third_monday = crontab(0, 0, day_of_week=1, day_of_month="1-7,15-21")
    assert days(first_and_third_monday) == [2, 16]
    friday_the_13th = crontab(0, 0, "fri", 13)
    assert friday_the_13th.next(datetime(2025, 6, 14, tzinfo=UTC)).isoformat()[:10] == "2026-02-13"


@pytest.mark.parametrize(
    ("field", "given", "numbers"),
    [
        (fields.MINUTE, "3-20/5", [3, 8, 13, 18]),
        (fields.MINUTE, "20-3/5", [0, 20, 25, 30, 35, 40, 45, 50, 55]),
        (fields.MINUTE, "50-9/7", [4, 50, 57]),
        (fields.MINUTE, "1,13,30-33,50-59/3", [1, 13, 30, 31, 32, 33, 50, 53, 56, 59]),
        (fields.MINUTE, "*/90", [0]),
        (fields.MINUTE, " 0 , 30", [0, 30]),
        (fields.MINUTE, {45, 0, 15, 30}, [0, 15, 30, 45]),
        (fields.MINUTE, (5, "10-12", "*/30"), [0, 5, 10, 11, 12, 30]),
        (fields.HOUR, range(8, 18, 3), [8, 11, 14, 17]),
        (fields.HOUR, "07", [7]),
        (fields.HOUR, "22-2", [0, 1, 2, 22, 23]),
        (fields.HOUR, [6, 6], [6]),
        (fields.DAY_OF_MONTH, "*/2", list(range(1, 32, 2))),
        (fields.DAY_OF_MONTH, "*/10", [1, 11, 21, 31]),
        (fields.DAY_OF_MONTH, "30-2", [1, 2, 30, 31]),
        (fields.MONTH_OF_YEAR, "*/2", [1, 3, 5, 7, 9, 11]),
        (fields.MONTH_OF_YEAR, "2-12/2", [2, 4, 6, 8, 10, 12]),
        (fields.MONTH_OF_YEAR, "nov-feb", [1, 2, 11, 12]),
        (fields.MONTH_OF_YEAR, "JANUARY,Sept,dec", [1, 9, 12]),
        (fields.DAY_OF_WEEK, "sun", [0]),
        (fields.DAY_OF_WEEK, "Sunday", [0]),
        (fields.DAY_OF_WEEK, 7, [0]),
        (fields.DAY_OF_WEEK, "7", [0]),
        (fields.DAY_OF_WEEK, {0, 7}, [0]),
        (fields.DAY_OF_WEEK, "mon-fri", [1, 2, 3, 4, 5]),
        (fields.DAY_OF_WEEK, "fri-mon", [0, 1, 5, 6]),
        (fields.DAY_OF_WEEK, "5-1", [0, 1, 5, 6]),
        (fields.DAY_OF_WEEK, "fri-7", [0, 5, 6]),
        (fields.DAY_OF_WEEK, "7-2", [0, 1, 2]),
        (fields.DAY_OF_WEEK, "0-7", [0, 1, 2, 3, 4, 5, 6]),
        (fields.DAY_OF_WEEK, "1-7/2", [0, 1, 3, 5]),
        (fields.DAY_OF_WEEK, "mon-sun/3", [0, 1, 4]),
        (fields.DAY_OF_WEEK, "*/2", [0, 2, 4, 6]),
        (fields.DAY_OF_WEEK, "tues,THURSDAY", [2, 4]),
        (fields.DAY_OF_WEEK, ["mon", 3, "fri-sat"], [1, 3, 5, 6]),
    ],
    ids=str,
)
def test_a_field_means_what_it_means_to_celery(
    field: fields.Field, given: Given, numbers: list[int]
) -> None:
    assert field.numbers(field.text(given)) == numbers


def numbers_given_one_by_one() -> Iterable[int]:
    yield from (30, 0)


def test_the_same_numbers_make_the_same_schedule_however_they_are_given() -> None:
    wanted = crontab("0,30")
    for given in ([0, 30], [30, 0], (0, 30), {0, 30}, "30,0", "00, 30", [0, "30", 0]):
        assert crontab(given) == wanted
        assert hash(crontab(given)) == hash(wanted)
    assert crontab(numbers_given_one_by_one()) == wanted
    assert crontab(0, 0, "FRI,Mon") == crontab(0, 0, ["mon", "fri"])


FIELD_ENDS = "as a number, a range ('2-5'), a step ('*/5') or a list of them"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("minute", 60, f"minute=60: 60 is out of range; give 0 to 59, {FIELD_ENDS}"),
        ("minute", "5,75", "minute='5,75': 75 is out of range; give 0 to 59"),
        ("minute", -1, "minute=-1: '-1' is not understood"),
        ("minute", "", "minute='': a part of it is empty"),
        ("minute", "1,,2", "minute='1,,2': a part of it is empty"),
        ("minute", [], "minute=[]: it is empty"),
        ("minute", None, "minute=None: it is neither a number, nor a text, nor a list of these"),
        ("minute", True, "minute=True: it is neither"),
        ("minute", 2.5, "minute=2.5: it is neither"),
        ("minute", b"5", "minute=b'5': it is neither"),
        ("minute", [1, 2.5], "minute=[1, 2.5]: 2.5 in it is neither a number nor a text"),
        ("minute", [1, True], "minute=[1, True]: it is neither"),
        ("minute", "*/0", "minute='*/0': the step of '*/0' is not a number from 1"),
        ("minute", "*/x", "minute='*/x': the step of '*/x' is not a number from 1"),
        ("minute", "5/15", "minute='5/15': '5/15' has a step but no range (write '5-59/15')"),
        ("minute", "1-2-3", "minute='1-2-3': '1-2-3' is not understood"),
        ("minute", "mon", "minute='mon': 'mon' is not understood"),
        ("minute", "@daily", "minute='@daily': '@daily' is not understood"),
        ("minute", "٣", "minute='٣': '٣' is not understood"),
        ("minute", "9" * 5000, "is not understood"),
        ("hour", 24, "hour=24: 24 is out of range; give 0 to 23"),
        ("hour", "8..17", "hour='8..17': '8..17' is not understood; give 0 to 23"),
        ("hour", "8 17", "hour='8 17': '8 17' is not understood"),
        ("day_of_month", 0, "day_of_month=0: 0 is out of range; give 1 to 31"),
        ("day_of_month", "L", "day_of_month='L': 'l' is not understood"),
        ("month_of_year", 13, "month_of_year=13: 13 is out of range; give 1 to 12 or a name such"),
        ("day_of_week", 8, "day_of_week=8: 8 is out of range; give 0 to 7 or a name such as 'sund"),
        ("day_of_week", "mon-fry", "day_of_week='mon-fry': 'fry' is not understood"),
        ("day_of_week", "mo", "day_of_week='mo': 'mo' is not understood"),
        ("day_of_week", "mondays", "day_of_week='mondays': 'mondays' is not understood"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_its_range(
    name: str, given: object, message: str
) -> None:
    fields_given: dict[str, Any] = {name: given}
    with pytest.raises(ValueError) as caught:
        crontab(**fields_given)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"crontab: {name}=")


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("0 0 * * MON", [2, 9, 16, 23, 30]),
        ("0 0 * * mon", [2, 9, 16, 23, 30]),
        ("0 0 13 * *", [13]),
        ("0 0 13 * FRI", [6, 13, 20, 27]),  # either, and the 13th is a Friday
        ("0 0 1,15 * 3", [1, 4, 11, 15, 18, 25]),
        ("0 0 */2 * MON", [9, 23]),  # a star at the beginning: both, as in Debian's cron
        ("0 0 * * 0", [1, 8, 15, 22, 29]),
        ("0 0 * * 7", [1, 8, 15, 22, 29]),
        ("0 0 * * 5-7", [1, 6, 7, 8, 13, 14, 15, 20, 21, 22, 27, 28, 29]),
        ("0 0 * * MON#2", [9]),
        ("0 0 * * 5L", [27]),
        ("0 0 L * *", [30]),
        ("0 0 LW * *", [30]),
        ("0 0 10-20/5 JUN *", [10, 15, 20]),
        ("0 0 5-5/2 * *", [5]),  # a range of one, not "from the 5th on"
        ("0 0 25/2 * *", [25, 27, 29]),
        ("0 0 0 13 * *", [13]),
    ],
)
def test_an_expression_means_what_it_means_to_cron(expression: str, numbers: list[int]) -> None:
    assert days(crontab(expression)) == numbers


def test_six_fields_begin_with_the_second() -> None:
    assert due(crontab("*/20 1 0 * * *")) == [
        datetime(2025, 6, 1, 0, 1, second, tzinfo=UTC) for second in (0, 20, 40)
    ]


def test_a_text_without_spaces_is_celerys_minute() -> None:
    assert crontab("*/15") == crontab(minute="*/15")
    assert crontab("0, 30") == crontab(minute=[0, 30])
    assert crontab("0  0 *\t* mon ") == crontab("0 0 * * MON")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("60 * * * *", "crontab('60 * * * *'): the minute '60' is wrong; give 0-59"),
        ("0 24 * * *", "the hour '24' is wrong; give 0-23"),
        ("0 0 32 * *", "the day of month '32' is wrong; give 1-31, L"),
        ("0 0 * 13 *", "the month '13' is wrong; give 1-12 or JAN-DEC"),
        ("0 0 * * FRI-MON", "the day of week 'FRI-MON' is wrong; give 0-7 or SUN-SAT"),
        ("0 0 * * FRI-MON", "ranges go upwards"),
        ("0 0 * * FRIDAY", "the day of week 'FRIDAY' is wrong"),
        ("60 0 0 * * *", "the second '60' is wrong; give 0-59"),
        ("*/0 * * * *", "the minute '*/0' is wrong"),
        ("5-5/0 * * * *", "the minute '5-5/0' is wrong"),
        ("*/" + "9" * 5000 + " * * * *", "is wrong"),
        ("0 0 *", "crontab('0 0 *') has 3 fields; a cron expression has 5 (minute, hour, day of"),
        ("0 0 0 1 1 * 2025", "has 7 fields"),
    ],
)
def test_a_wrong_expression_is_named_with_its_field(expression: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        crontab(expression)
    assert message in str(caught.value)


def test_an_expression_stands_alone() -> None:
    with pytest.raises(ValueError, match="an expression says everything, and other fields are"):
        crontab("0 0 * * *", hour=5)


@pytest.mark.parametrize(
    "never",
    [
        {"day_of_month": 31, "month_of_year": 2},
        {"day_of_month": "30,31", "month_of_year": "feb"},
        {"day_of_month": 31, "month_of_year": [4, 6, 9, 11]},
        {"minute": "0 0 30 2 *"},
        {"minute": "0 0 31 4,6 *"},
    ],
)
def test_what_never_occurs_is_refused(never: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="there is no such day; check the days against the months"):
        crontab(**never)


def test_what_occurs_rarely_is_not() -> None:
    leap_monday = crontab(0, 0, day_of_week="mon", day_of_month=29, month_of_year="feb")
    found = leap_monday.next(datetime(2073, 1, 1, tzinfo=UTC))
    assert found == datetime(2112, 2, 29, tzinfo=UTC), "40 years on: 2100 is no leap year"


def test_ends_of_months_and_leap_days() -> None:
    last = crontab(0, 0, day_of_month=31)
    assert [moment.month for moment in due(last, days=365)] == [7, 8, 10, 12, 1, 3, 5]
    leap_day = crontab(0, 0, day_of_month=29, month_of_year=2)
    assert leap_day.next(JUNE) == datetime(2028, 2, 29, tzinfo=UTC)
    february = datetime(2028, 2, 1, tzinfo=UTC)
    assert days(crontab("0 0 L * *"), february) == [29]
