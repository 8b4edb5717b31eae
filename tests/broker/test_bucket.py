"""include/bucket.lua: the same integers as the pure model, whatever the clock does."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioq.core.bucket import Bucket, TokenBucket
from tests.broker.buckets import define, take
from tests.broker.place import Place

pytestmark = pytest.mark.broker

START_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000
RATES = st.floats(0.1, 100_000) | st.integers(1, 1_000_000)
PERS = st.sampled_from([0.1, 1, 60, 3600, 86400]) | st.floats(0.01, 86400)
BUCKETS = st.builds(TokenBucket, rate=RATES, per=PERS, burst=st.integers(1, 5000))
PAUSES = st.integers(-DAY_US, DAY_US) | st.integers(0, 2_000_000) | st.integers(0, 50)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BUCKETS, st.lists(st.tuples(PAUSES, st.integers(1, 6000)), min_size=1, max_size=50))
def test_the_server_counts_as_the_model_does(
    place: Place, bucket: TokenBucket, tries: list[tuple[int, int]]
) -> None:
    place.admin("DEL", f"{place.prefix}tb:stripe:")
    define(place, bucket.numbers)
    now_us, steps = START_US, list[tuple[int, int]]()
    for pause_us, cost in tries:
        now_us = max(now_us + pause_us, 0)
        steps.append((now_us, cost))
    model, expected = Bucket(bucket.numbers), list[int]()
    for moment_us, cost in steps:
        expected.append(model.wait_us(moment_us, cost))
        model.take(moment_us, cost)
    counted = take(place, *steps)
    assert [wait_us for wait_us, _ in counted] == expected
    if expected[-1] == 0:
        assert counted[-1][1] == model.level


def test_what_was_set_at_run_time_wins_and_nothing_at_all_is_no_limit(place: Place) -> None:
    assert take(place, *[(START_US, 1)] * 100) == []
    define(place, TokenBucket(1, burst=1).numbers)
    define(place, TokenBucket(1, burst=3).numbers, at="lr")
    assert [wait for wait, _ in take(place, *[(START_US, 1)] * 4)] == [0, 0, 0, 1_000_000]
    place.admin("DEL", f"{place.prefix}lr")
    assert take(place, (START_US, 1))[0][0] == 1_000_000
    assert take(place, (START_US + 10_000_000, 1), (START_US + 10_000_000, 1))[1][0] == 1_000_000


def test_tokens_are_kept_when_the_rate_changes(place: Place) -> None:
    define(place, TokenBucket(1, burst=10).numbers)
    take(place, *[(START_US, 1)] * 6)
    define(place, TokenBucket(7, per=3600, burst=10).numbers, at="lr")
    waits = [wait for wait, _ in take(place, *[(START_US, 1)] * 5)]
    assert waits[:4] == [0, 0, 0, 0]
    assert waits[4] > 500_000_000


def test_a_bucket_vanishes_some_time_after_it_is_full(place: Place) -> None:
    define(place, TokenBucket(1, per=60, burst=2).numbers)
    take(place, (START_US, 2))
    assert 120_000 < place.expiring()["tb:stripe:"] <= 130_000
