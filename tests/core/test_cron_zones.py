"""Timezones as spans of constant offset."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioq.core.cron.zones import span_at

ZONES = [
    "Africa/Casablanca",
    "America/New_York",
    "America/St_Johns",
    "Asia/Baku",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Paris",
    "Pacific/Apia",
]


def offset(tz: str, second: int) -> float:
    moment = datetime.fromtimestamp(second, ZoneInfo(tz)).utcoffset()
    assert moment is not None
    return moment.total_seconds()


@settings(max_examples=200)
@given(st.sampled_from(ZONES), st.integers(-(10**9), 4 * 10**9))
def test_a_span_holds_the_moment_and_one_offset(tz: str, second: int) -> None:
    span = span_at(tz, second)
    assert span.begin <= second < span.end
    for inside in (span.begin, second, span.end - 1):
        assert offset(tz, inside) == span.offset
    assert offset(tz, span.begin - 1) == span.before
    assert span_at(tz, span.begin - 1).end == span.begin
    assert span_at(tz, span.end).begin == span.end


@pytest.mark.parametrize(
    ("tz", "change"),
    [
        ("Europe/Paris", "2024-10-27T01:00:00"),
        ("America/St_Johns", "2010-11-07T02:31:00"),
        ("Asia/Baku", "2012-03-25T00:00:00"),  # at the moment when UTC begins a day
        ("Africa/Casablanca", "2011-04-03T00:00:00"),
        ("Pacific/Apia", "2011-12-30T10:00:00"),
    ],
)
def test_a_change_is_found_to_the_second(tz: str, change: str) -> None:
    second = round(datetime.fromisoformat(change).replace(tzinfo=UTC).timestamp())
    before, after = span_at(tz, second - 1), span_at(tz, second)
    assert (before.end, after.begin) == (second, second)
    assert after.before == before.offset != after.offset
