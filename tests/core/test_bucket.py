"""Rates as values, and the token bucket as a pure model."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core.bucket import (
    MOST_TOKENS,
    Bucket,
    Concurrency,
    Numbers,
    TokenBucket,
    bare,
    read_rates,
    read_slots,
)
from aioq.core.errors import ConfigurationError

RATES = st.one_of(st.integers(1, 10_000), st.floats(0.1, 10_000), st.just(1 / 3))
PERS = st.sampled_from([0.1, 1, 60, 3600, 86400]) | st.floats(0.01, 86400)
BURSTS = st.none() | st.integers(1, 1000)
SMALL = st.builds(TokenBucket, rate=st.floats(0.1, 100), per=PERS, burst=st.integers(1, 100))
BUCKETS = st.builds(TokenBucket, rate=RATES, per=PERS, burst=BURSTS)
START_US = 1_700_000_000_000_000


@given(BUCKETS)
def test_a_rate_in_whole_numbers_is_the_rate_that_was_meant(bucket: TokenBucket) -> None:
    rate, per_us, burst = bucket.numbers
    assert math.isclose(rate / per_us, bucket.rate / (bucket.per * 1e6), rel_tol=1e-9)
    assert burst == bucket.burst
    assert 0 < rate < 2**53
    assert 0 < burst * per_us < 2**53


@given(SMALL)
def test_an_idle_bucket_lets_exactly_its_burst_through(bucket: TokenBucket) -> None:
    one = Bucket(bucket.numbers)
    taken = 0
    while taken <= bucket.numbers.burst and one.take(START_US):
        taken += 1
    assert taken == bucket.burst


@given(BUCKETS, st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 20)), max_size=60))
def test_no_window_lets_more_through_than_it_may(
    bucket: TokenBucket, tries: list[tuple[int, int]]
) -> None:
    rate, per_us, burst = bucket.numbers
    one, now_us = Bucket(bucket.numbers), START_US
    starts: list[tuple[int, int]] = []
    for pause_us, cost in tries:
        now_us += pause_us
        if one.take(now_us, cost):
            starts.append((now_us, min(cost, burst)))
    for first, (begin, _) in enumerate(starts):
        tokens = 0
        for end, cost in starts[first:]:
            tokens += cost
            assert tokens * per_us <= (end - begin) * rate + burst * per_us


@given(BUCKETS, st.data())
def test_whoever_waits_as_long_as_it_says_gets_the_tokens_and_not_sooner(
    bucket: TokenBucket, data: st.DataObject
) -> None:
    burst = bucket.numbers.burst
    cost = data.draw(st.integers(1, min(10, burst)), "cost")
    left = data.draw(st.integers(0, cost - 1), "left")
    one = Bucket(bucket.numbers)
    assert one.take(START_US, burst - left)
    wait_us = one.wait_us(START_US, cost)
    assert not one.take(START_US + wait_us - 1, cost)
    assert one.take(START_US + wait_us, cost)


@given(SMALL, st.integers(1, 10**12))
def test_a_clock_that_is_put_back_neither_mints_nor_freezes_tokens(
    bucket: TokenBucket, back_us: int
) -> None:
    one = Bucket(bucket.numbers)
    while one.take(START_US):
        pass
    level = one.level
    wait_us = one.wait_us(START_US - back_us)
    assert wait_us == one.wait_us(START_US), "it waits no longer than before"
    assert not one.take(START_US - back_us)
    assert one.level == level


def test_under_load_the_full_rate_is_reached() -> None:
    bucket = Bucket(TokenBucket(100, burst=1).numbers)
    now_us, starts = START_US, 0
    while now_us < START_US + 10_000_000:
        starts += bucket.take(now_us)
        now_us += bucket.wait_us(now_us)
    assert starts == 1000


def test_a_cost_above_the_burst_is_cut_to_it() -> None:
    """A limit that was lowered at run time must not hold up for ever what was made before."""
    bucket = Bucket(TokenBucket(1, burst=5).numbers)
    assert bucket.take(START_US, 50)
    assert bucket.wait_us(START_US, 50) == 5_000_000


@pytest.mark.parametrize(
    ("text", "rate", "per", "burst"),
    [
        ("10/s", 10, 1, 10),
        ("10/m", 10, 60, 10),
        ("100/h", 100, 3600, 100),
        ("1000/d", 1000, 86400, 1000),
        ("0.5/s", 0.5, 1, 1),
        ("2.5/m", 2.5, 60, 3),
        (" 10 / m ", 10, 60, 10),
        ("7", 7, 1, 7),
        (7, 7, 1, 7),
        (0.25, 0.25, 1, 1),
    ],
)
def test_rates_are_read_as_celery_writes_them(
    text: str | float, rate: float, per: float, burst: int
) -> None:
    assert read_rates(text, where="here") == (TokenBucket(rate, per, burst),)


@pytest.mark.parametrize("nothing", [None, 0, "0", "0/m", [], [None, 0]])
def test_no_rate_is_no_limit(nothing: object) -> None:
    assert read_rates(nothing, where="here") == ()


@pytest.mark.parametrize("bad", ["fast", "10/w", "10/", "/s", "-1/s", "10 per s", True, b"1/s", {}])
def test_a_bad_rate_is_named_with_the_form(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r'^task t: rate_limit=.* is wrong: .*"10/m"'):
        read_rates(bad, where="task t")


@pytest.mark.parametrize("bad", [0, -1, True, "5", 2.0])
def test_a_bad_concurrency_is_named(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^task t: max_concurrency=.* from 1"):
        read_slots(bad, where="task t")


def test_several_limits_are_read_together() -> None:
    assert read_rates(["10/s", TokenBucket(3, 60)], where="") == (
        TokenBucket(10),
        TokenBucket(3, per=60, burst=3),
    )
    assert read_slots((5, Concurrency(2)), where="") == (Concurrency(5), Concurrency(2))
    assert read_slots(None, where="") == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": 0}, r"TokenBucket: rate=0 is wrong: it is a number above 0"),
        ({"rate": -1}, r"rate=-1 is wrong"),
        ({"rate": float("nan")}, r"rate=nan is wrong"),
        ({"rate": "10/m"}, r"rate='10/m' is wrong"),
        ({"rate": 1, "per": 0}, r"per=0 is wrong: it is a number above 0"),
        ({"rate": 1, "per": float("inf")}, r"per=inf is wrong"),
        ({"rate": 1, "burst": 0}, rf"burst=0 is wrong: .* from 1 to {MOST_TOKENS:,}"),
        ({"rate": 1, "burst": 2.5}, r"burst=2.5 is wrong"),
        ({"rate": 1, "cost": 2}, r"cost=2 is wrong: .* to the burst"),
        ({"rate": 1, "burst": 5, "cost": 0}, r"cost=0 is wrong"),
        ({"rate": 1, "key": "user"}, r"key='user' is wrong: it is a function"),
        ({"rate": 1e-9, "per": 3e9, "burst": 10**9}, r"cannot be counted exactly"),
        ({"rate": 1e9, "per": 1e-20}, r"cannot be counted exactly"),
    ],
)
def test_a_bucket_says_what_is_wrong_with_it(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        TokenBucket(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": 0}, r"Concurrency: limit=0 is wrong: it is a whole number from 1"),
        ({"limit": 1.5}, r"limit=1.5 is wrong"),
        ({"limit": 1, "key": 3}, r"key=3 is wrong"),
        ({"limit": 1, "name": ""}, r"name='' is wrong"),
    ],
)
def test_slots_say_what_is_wrong_with_them(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Concurrency(**given)


@pytest.mark.parametrize(
    ("numbers", "pace"),
    [
        (TokenBucket(10, per=60).numbers, (10, 60)),
        (TokenBucket(100).numbers, (100, 1)),
        (TokenBucket(1, per=3600).numbers, (1, 3600)),
        (TokenBucket(5, per=86400).numbers, (5, 86400)),
        (TokenBucket(1, per=31536000).numbers, (1, 31536000)),
        (Numbers(7, 3_000_000, 1), (140, 60)),
    ],
)
def test_whole_numbers_are_shown_as_a_rate_again(
    numbers: Numbers, pace: tuple[float, float]
) -> None:
    assert numbers.pace == pytest.approx(pace)


def test_the_numbers_of_a_limit_say_nothing_of_how_it_is_used() -> None:
    assert bare(TokenBucket(5, per=2, burst=9, key=print, cost=3)) == TokenBucket(5, 2, 9)
    assert bare(Concurrency(5, key=print, name="db")) == Concurrency(5)
