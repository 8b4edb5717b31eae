"""What to do with a schedule that is due: the policies, as pure values."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core.cron import Schedule, crontab, every
from aioq.core.errors import ConfigurationError
from aioq.core.recurring import (
    PUNCTUAL_MS,
    Definition,
    Policy,
    Step,
    Target,
    UnknownDefinition,
    as_schedule,
    as_schedules,
    check_name,
    decode,
    define,
    jitter,
    job_id,
    kept_pace,
    lane_of,
    source_of,
    steps,
    version_of,
)

NOW = 1_800_000_000_000
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
TARGET = Target("add", "default:5", b"payload", "")


def made(rule: Schedule | None = None, **kept: Any) -> Definition:  # noqa: ANN401 - of Policy
    return define(
        TARGET, rule or every(60), Policy(**kept), name="x", source="m:app", timezone=None
    )


def fired(definition: Definition, occurrence_ms: int, now_ms: int = NOW) -> list[int]:
    """Return the occurrences that become jobs, and check that the steps are a chain."""
    taken = list(steps(definition, occurrence_ms, now_ms))
    at_ms = occurrence_ms
    for step in taken:
        assert step.occurrence_ms == at_ms < step.next_ms
        at_ms = step.next_ms
    assert at_ms > now_ms, "nothing that is due is left"
    return [step.occurrence_ms for step in taken if not step.is_missed]


def test_what_is_not_due_is_left_alone() -> None:
    assert list(steps(made(), NOW + 1, NOW)) == []


def test_an_occurrence_that_is_due_becomes_a_job_and_the_next_one_is_later() -> None:
    assert list(steps(made(), NOW, NOW)) == [Step(NOW, NOW + MINUTE)]


@pytest.mark.parametrize("missed", ["skip", "one", "all"])
def test_what_is_a_little_late_was_not_missed(missed: str) -> None:
    definition = made(every(1), missed=missed)
    late = [NOW - ago * SECOND for ago in range(10, -1, -1)]
    assert fired(definition, NOW - PUNCTUAL_MS) == late


def test_skip_makes_no_job_of_what_was_missed() -> None:
    assert fired(made(missed="skip"), NOW - 90 * MINUTE) == [NOW]
    assert fired(made(missed="skip"), NOW - 90 * MINUTE, NOW + 30 * SECOND) == []


def test_one_makes_a_job_of_the_last_that_was_missed() -> None:
    definition = made(every(60), missed="one")
    assert fired(definition, NOW - 90 * MINUTE) == [NOW - MINUTE, NOW]
    assert fired(definition, NOW - 90 * MINUTE, NOW + 30 * SECOND) == [NOW]
    assert fired(definition, NOW, NOW + 30 * SECOND) == [NOW]


def test_all_makes_a_job_of_each_within_the_window() -> None:
    definition = made(every(60), missed="all", missed_window=600)
    assert fired(definition, NOW - 90 * MINUTE) == [NOW - n * MINUTE for n in range(10, -1, -1)]
    assert fired(definition, NOW - 3 * MINUTE) == [NOW - n * MINUTE for n in range(3, -1, -1)]


def test_a_window_that_is_shorter_than_a_little_late_changes_nothing() -> None:
    definition = made(every(1), missed="all", missed_window=2)
    assert fired(definition, NOW - 60 * SECOND) == [NOW - n * SECOND for n in range(10, -1, -1)]


def test_a_long_absence_is_passed_over_in_one_step() -> None:
    """However many there were: a year of seconds takes no longer than a minute of them."""
    year = 365 * 24 * HOUR
    taken = list(steps(made(every(0.001)), NOW - year, NOW - year + PUNCTUAL_MS + 2))
    assert taken[0] == Step(NOW - year, NOW - year + 1, is_missed=True)
    first, *_ = steps(made(every(1), missed="one"), NOW - year, NOW)
    assert first == Step(NOW - year, NOW - PUNCTUAL_MS - SECOND, is_missed=True)


def test_steps_are_made_one_by_one_so_that_a_call_takes_as_many_as_it_can() -> None:
    definition = made(every(0.001), missed="all", missed_window=10_000_000)
    assert [step.occurrence_ms for step in islice(steps(definition, NOW - HOUR, NOW), 3)] == [
        NOW - HOUR,
        NOW - HOUR + 1,
        NOW - HOUR + 2,
    ]


@given(
    rule=st.one_of(
        st.integers(1, 5000).map(lambda ms: every(ms / 1000)),
        st.tuples(st.integers(0, 59), st.integers(0, 23)).map(
            lambda at: crontab(minute=at[0], hour=f"*/{at[1] + 1}")
        ),
    ),
    absence=st.integers(0, 200),
    late=st.integers(0, 100_000),
)
def test_one_is_what_a_walk_through_all_occurrences_finds(
    rule: Schedule, absence: int, late: int
) -> None:
    definition = made(rule, missed="one")
    first = rule.next_ms(NOW)
    walk = [first, *rule.occurrences_ms(first, first + 10**12, absence)]
    now = walk[-1] + late % (rule.next_ms(walk[-1]) - walk[-1])
    missed = [each for each in walk if each < now - PUNCTUAL_MS]
    assert fired(definition, first, now) == missed[-1:] + walk[len(missed) :]


def test_a_definition_is_the_same_bytes_for_the_same_schedule_and_says_its_source_first() -> None:
    first, second = made(crontab("0 7 * * *"), jitter=5), made(crontab("0 7 * * *"), jitter=5)
    assert first.encode() == second.encode()
    assert version_of(first.encode()) == version_of(second.encode())
    assert decode(first.encode()) == first
    assert source_of(first.encode()) == "m:app"
    assert made(jitter=6).encode() != first.encode()


@pytest.mark.parametrize(
    "stored",
    [
        b"m:app\n\x80",
        b"m:app\n" + made().encode().partition(b"\n")[2].replace(b"every", b"never"),
        b"m:app\n" + made().encode().partition(b"\n")[2].replace(b"task", b"tusk"),
        b"m:app",
        b"",
    ],
)
def test_what_another_release_wrote_is_refused_as_a_whole(stored: bytes) -> None:
    with pytest.raises(UnknownDefinition, match="cannot be read by this release"):
        decode(stored)
    assert not kept_pace(stored, made())


def test_only_another_rule_changes_the_pace() -> None:
    before = made(crontab(hour=3)).encode()
    assert kept_pace(before, made(crontab(hour=3), jitter=9)) == version_of(before)
    assert not kept_pace(before, made(crontab(hour=4)))
    assert not kept_pace(before, made(crontab(hour=3, tz="Europe/Paris")))


def test_a_schedule_without_a_timezone_has_that_of_the_app_else_utc() -> None:
    def zone(timezone: str | None, rule: Schedule) -> str | None:
        made = define(TARGET, rule, Policy(), name="x", source="", timezone=timezone)
        return made.schedule.tz

    assert zone(None, crontab(hour=3)) == "UTC"
    assert zone("Europe/Paris", crontab(hour=3)) == "Europe/Paris"
    assert zone("Europe/Paris", crontab(hour=3, tz="Asia/Tokyo")) == "Asia/Tokyo"


@given(st.integers(0, 2**43))
def test_jitter_is_the_same_for_all_and_stays_in_its_bounds(at_ms: int) -> None:
    definition = made(jitter=0.5)
    delay = jitter(definition, "x", at_ms)
    assert 0 <= delay <= 500
    assert delay == jitter(definition, "x", at_ms)
    assert jitter(made(), "x", at_ms) == 0


def test_jitter_spreads() -> None:
    delays = [jitter(made(jitter=1), "x", n * MINUTE) for n in range(1000)]
    assert min(delays) < 100 and max(delays) > 900
    assert jitter(made(jitter=1), "y", MINUTE) != jitter(made(jitter=1), "x", MINUTE)


def test_the_longest_id_is_one() -> None:
    assert len(job_id("x" * 100, f"now:{'f' * 8}")) <= 128
    assert len(job_id("x" * 100, 10**13)) <= 128


def test_a_queue_of_overlaps_is_a_slot_of_the_schedule() -> None:
    assert lane_of("mail:5", "x", "allow") == lane_of("mail:5", "x", "skip") == "mail:5"
    assert lane_of("mail:5", "x", "queue") == "mail:5 o:x"
    assert lane_of("mail:5 b:stripe:", "x", "queue") == "mail:5 b:stripe: o:x"
    strange = lane_of("mail:5", "a:b=c", "queue")
    assert strange.startswith("mail:5 o:#") and len(strange) == len("mail:5 o:#") + 18


@pytest.mark.parametrize("name", ["x", "a.b.c#2", "x" * 100, "!|~:="])
def test_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 101, "a b", "{x}", "tää", "a\n", None, 7])
def test_a_name_that_is_none(name: object) -> None:
    with pytest.raises(ConfigurationError, match="1 to 100 letters, digits"):
        check_name(name)


def test_a_schedule_may_be_given_as_seconds() -> None:
    assert as_schedule(30, where="x") == every(30)
    assert as_schedule(0.5, where="x") == every(0.5)
    assert as_schedule(timedelta(minutes=2), where="x") == every(120)
    assert as_schedule(crontab(hour=3), where="x") == crontab(hour=3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0 0 * * *", r"app: schedule='0 0 \* \* \*' is no schedule: write crontab\('0 0"),
        (None, "app: schedule=None is no schedule; give crontab"),
        (True, "is no schedule"),
        (0, r"app: schedule=0 is wrong: every\(0"),
        (-5, "is wrong"),
        (datetime(2030, 1, 1, tzinfo=UTC), "is no schedule"),
        ([every(1)], "is no schedule"),
    ],
)
def test_what_is_no_schedule_is_said(given: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        as_schedule(given, where="app")


def test_a_task_has_none_one_or_several() -> None:
    assert as_schedules(None, where="x") == ()
    assert as_schedules(30, where="x") == (every(30),)
    assert as_schedules([30, crontab(hour=3)], where="x") == (every(30), crontab(hour=3))
    assert as_schedules((), where="x") == ()
