"""Moments and durations: whole milliseconds, and never early (G6)."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core.clock import from_ms, milliseconds, moment_ms
from aioq.core.errors import ConfigurationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = st.floats(0, 1e9) | st.integers(0, 10**9).map(float)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(SECONDS)
def test_a_duration_is_never_shortened_and_never_longer_by_a_millisecond(seconds: float) -> None:
    assert -1e-3 < milliseconds(seconds) - seconds * 1000 < 1


@given(st.integers(0, 10**12))
def test_whole_milliseconds_stay_what_they_are(ms: int) -> None:
    assert milliseconds(ms / 1000) == ms


@pytest.mark.parametrize(
    ("seconds", "ms"), [(0, 0), (0.1, 100), (0.0001, 1), (1.0001, 1001), (2, 2000), (0.29, 290)]
)
def test_a_fraction_of_a_millisecond_is_rounded_up(seconds: float, ms: int) -> None:
    assert milliseconds(seconds) == ms


@given(st.datetimes(timezones=ZONES, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))  # noqa: DTZ001
def test_a_moment_is_rounded_up_to_its_millisecond(moment: datetime) -> None:
    ms = moment_ms(moment, None)
    late = EPOCH + timedelta(milliseconds=ms) - moment
    assert timedelta(0) <= late < timedelta(milliseconds=1)


@given(st.integers(-(10**12), 10**13))
def test_milliseconds_and_moments_are_each_others_inverse(ms: int) -> None:
    assert moment_ms(from_ms(ms), None) == ms
    assert from_ms(ms).tzinfo is UTC


@given(st.datetimes(timezones=ZONES), ZONES)
def test_the_timezone_of_the_settings_does_not_touch_an_aware_moment(
    moment: datetime, zone: timezone
) -> None:
    assert moment_ms(moment, zone) == moment_ms(moment, None)


def test_a_naive_moment_means_what_the_settings_say() -> None:
    paris = ZoneInfo("Europe/Paris")
    noon = datetime(2030, 7, 1, 12)  # noqa: DTZ001
    assert moment_ms(noon, paris) == moment_ms(datetime(2030, 7, 1, 10, tzinfo=UTC), None)


def test_a_naive_moment_is_refused_where_nothing_says_what_it_means() -> None:
    with pytest.raises(ConfigurationError, match=r"2030-07-01T12:00:00 .*Settings\.timezone"):
        moment_ms(datetime(2030, 7, 1, 12), None)  # noqa: DTZ001
