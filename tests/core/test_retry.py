"""When to try again."""

import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core.errors import ConfigurationError
from aioq.core.retry import Retry, RetryPolicy, Snooze, reconnect_delay

SECONDS = st.floats(0, 1e6)
POLICIES = st.builds(
    RetryPolicy,
    max_retries=st.none() | st.integers(0, 20),
    default_retry_delay=SECONDS,
    retry_backoff=st.booleans() | st.floats(1e-3, 1e6),
    retry_backoff_max=SECONDS,
    retry_jitter=st.booleans(),
)
RETRIES = st.integers(0, 100) | st.integers(0, sys.maxsize)


def longest(_: float, most: float) -> float:
    return most


def shortest(least: float, _: float) -> float:
    return least


@given(POLICIES, RETRIES)
def test_a_delay_is_never_negative_and_never_longer_than_its_cap(
    policy: RetryPolicy, retries: int
) -> None:
    cap = policy.default_retry_delay if policy.retry_backoff is False else policy.retry_backoff_max
    assert 0 <= policy.delay(retries) <= cap


@given(POLICIES, RETRIES)
def test_without_jitter_delays_never_get_shorter(policy: RetryPolicy, retries: int) -> None:
    assert policy.delay(retries, longest) <= policy.delay(retries + 1, longest)


@given(POLICIES, RETRIES)
def test_full_jitter_reaches_from_nothing_to_the_whole_backoff(
    policy: RetryPolicy, retries: int
) -> None:
    if policy.retry_backoff is not False and policy.retry_jitter:
        assert policy.delay(retries, shortest) == 0
    else:
        assert policy.delay(retries, shortest) == policy.delay(retries, longest)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(), [180, 180, 180, 180]),
        (RetryPolicy(retry_backoff=True, default_retry_delay=10), [10, 20, 40, 80]),
        (RetryPolicy(retry_backoff=10), [10, 20, 40, 80]),
        (RetryPolicy(retry_backoff=0.5), [0.5, 1, 2, 4]),
        (RetryPolicy(retry_backoff=True), [180, 360, 600, 600]),
        (RetryPolicy(retry_backoff=1, retry_backoff_max=3), [1, 2, 3, 3]),
        (RetryPolicy(retry_backoff=True, default_retry_delay=0), [0, 0, 0, 0]),
    ],
)
def test_the_backoff_doubles_up_to_its_maximum(policy: RetryPolicy, delays: list[float]) -> None:
    assert [policy.delay(n, longest) for n in range(4)] == delays


def test_the_ten_thousandth_retry_has_a_delay_too() -> None:
    policy = RetryPolicy(max_retries=None, retry_backoff=10, retry_backoff_max=1e300)
    assert policy.delay(10_000, longest) == 10 * 2.0**64


@given(st.none() | st.integers(0, 50), st.integers(0, 60))
def test_retries_are_allowed_up_to_their_number(most: int | None, retries: int) -> None:
    assert RetryPolicy(max_retries=most).allows(retries) is (most is None or retries < most)


def test_what_is_caught_may_have_exceptions() -> None:
    policy = RetryPolicy(autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,))
    assert policy.catches(ConnectionError())
    assert not policy.catches(FileNotFoundError())
    assert not policy.catches(ValueError())
    assert not RetryPolicy().catches(Exception())


@given(st.integers(0, sys.maxsize))
def test_a_reconnect_waits_at_most_two_seconds(failures: int) -> None:
    assert 0 <= reconnect_delay(failures) <= 2
    assert reconnect_delay(failures, shortest) == 0
    assert reconnect_delay(failures, longest) <= reconnect_delay(failures + 1, longest)
    assert reconnect_delay(0, longest) == 0.05


def test_a_retry_says_why_it_was_asked_for() -> None:
    assert str(Retry(ValueError("no"))) == "no"
    assert str(Retry()) == "asked to be retried"


def test_a_retry_at_a_naive_moment_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="eta=2030-01-01T00:00:00 has no timezone"):
        Retry(eta=datetime(2030, 1, 1))  # noqa: DTZ001
    assert Retry(eta=datetime(2030, 1, 1, tzinfo=UTC)).eta


@pytest.mark.parametrize("seconds", [float("inf"), float("nan")])
def test_a_time_that_never_comes_is_refused_where_it_is_written(seconds: float) -> None:
    """Later it would be an error of the executor, and the job would never be settled."""
    with pytest.raises(ConfigurationError, match=f"countdown={seconds}"):
        Retry(countdown=seconds)
    with pytest.raises(ConfigurationError, match=f"{seconds}"):
        Snooze(seconds)
