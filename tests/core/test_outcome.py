"""What becomes of a delivery: decided from the error, the policy, and the retries so far."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core import codec
from aioq.core.errors import ConfigurationError, InvalidArguments, SoftTimeLimitExceeded
from aioq.core.outcome import (
    Buried,
    GivenBack,
    Outcome,
    Retried,
    decide,
    decide_interrupted,
    original,
)
from aioq.core.record import JobError
from aioq.core.retry import Reject, Retry, RetryPolicy, Snooze
from tests.core.test_retry import POLICIES, RETRIES

FINITE = st.floats(-1e6, 1e6)
MOMENTS = st.datetimes(timezones=st.just(UTC))
REQUESTS = st.builds(
    Retry,
    st.none() | st.builds(ValueError, st.text()),
    countdown=st.none() | FINITE,
    eta=st.none() | MOMENTS,
    max_retries=st.none() | st.integers(0, 20),
)
ERRORS: st.SearchStrategy[BaseException] = st.one_of(
    REQUESTS,
    st.builds(Retry, countdown=FINITE),
    st.builds(Snooze, FINITE),
    st.builds(Reject, st.text()),
    st.builds(InvalidArguments, st.text()),
    st.builds(ValueError, st.text() | st.floats() | st.lists(st.integers())),
    st.builds(KeyError, st.binary()),
    st.just(SystemExit(3)),
    st.just(ConnectionError()),
)
CATCHING = POLICIES.map(
    lambda policy: RetryPolicy(
        max_retries=policy.max_retries,
        autoretry_for=(ValueError, OSError),
        default_retry_delay=policy.default_retry_delay,
        retry_backoff=policy.retry_backoff,
        retry_backoff_max=policy.retry_backoff_max,
        retry_jitter=policy.retry_jitter,
    )
)


def error_of(outcome: Outcome) -> JobError:
    assert isinstance(outcome, (Buried, Retried))
    return codec.decode_error(outcome.error)


@given(ERRORS, POLICIES | CATCHING, RETRIES)
def test_every_error_has_an_outcome_that_the_server_can_read(
    error: BaseException, policy: RetryPolicy, retries: int
) -> None:
    outcome = decide(error, policy, retries)
    if isinstance(outcome, (Retried, GivenBack)):
        assert int(outcome.delay) == float(outcome.delay)
        assert outcome.delay.lstrip("+-").isdigit()
    else:
        assert isinstance(outcome, Buried)


def retry_in(seconds: float) -> Retry:
    return Retry(countdown=seconds)


@pytest.mark.parametrize("kind", [retry_in, Snooze])
@given(seconds=st.floats() | st.integers(-(10**30), 10**30).map(float))
def test_no_number_of_seconds_keeps_a_delivery_from_being_settled(
    kind: Callable[[float], Exception], seconds: float
) -> None:
    """A moment after the year 9999 is none, neither on the server nor in `job.info()`."""
    try:
        error = kind(seconds)
    except ConfigurationError:  # it may be refused where it is written
        return
    outcome = decide(error, RetryPolicy(), 0)
    assert isinstance(outcome, (Retried, GivenBack))
    assert 0 <= int(outcome.delay) < 253_402_300_800_000


@given(ERRORS, POLICIES | CATCHING, RETRIES)
def test_no_job_is_retried_more_often_than_allowed(
    error: BaseException, policy: RetryPolicy, retries: int
) -> None:
    most = policy.max_retries
    if isinstance(error, Retry) and error.max_retries is not msgspec.UNSET:
        most = error.max_retries
    if isinstance(decide(error, policy, retries), Retried):
        assert most is None or retries < most


@given(POLICIES)
def test_a_chain_of_retries_ends_where_the_policy_says(policy: RetryPolicy) -> None:
    retries = 0
    while retries < 50 and isinstance(decide(Retry(countdown=0), policy, retries), Retried):
        retries += 1
    assert retries == (50 if policy.max_retries is None else policy.max_retries)


def test_an_error_that_nobody_asked_to_retry_buries_the_job() -> None:
    outcome = decide(ValueError("boom"), RetryPolicy(), 0)
    assert isinstance(outcome, Buried)
    assert error_of(outcome).exc_type == "ValueError"


def test_an_error_to_retry_waits_for_the_delay_of_the_policy() -> None:
    policy = RetryPolicy(autoretry_for=(OSError,), default_retry_delay=1.5, max_retries=1)
    granted = decide(ConnectionError("away"), policy, 0)
    assert isinstance(granted, Retried)
    assert granted.delay == "+1500"
    assert error_of(granted).exc_message == "away"
    assert isinstance(decide(ConnectionError("away"), policy, 1), Buried)


@pytest.mark.parametrize(
    ("request_", "delay"),
    [
        (Retry(), "+180000"),
        (Retry(countdown=0), "+0"),
        (Retry(countdown=-5), "+0"),
        (Retry(countdown=0.0101), "+11"),
        (Retry(eta=datetime(2030, 1, 1, tzinfo=UTC)), "1893456000000"),
        (Retry(countdown=9, eta=datetime(1970, 1, 1, tzinfo=UTC)), "0"),
    ],
)
def test_a_retry_that_a_task_asks_for_waits_as_long_as_it_says(request_: Retry, delay: str) -> None:
    outcome = decide(request_, RetryPolicy(), 0)
    assert isinstance(outcome, Retried)
    assert outcome.delay == delay


def test_a_task_may_ask_for_more_retries_or_fewer_than_its_policy() -> None:
    policy = RetryPolicy(max_retries=1)
    assert isinstance(decide(Retry(max_retries=5), policy, 4), Retried)
    assert isinstance(decide(Retry(max_retries=5), policy, 5), Buried)
    assert isinstance(decide(Retry(max_retries=0), policy, 0), Buried)
    assert isinstance(decide(Retry(max_retries=None), policy, 9999), Retried)


def asking(*, cause: bool = False, context: bool = False, exc: bool = False) -> Retry:
    request = Retry(ValueError("exc") if exc else None)
    request.__cause__ = ValueError("cause") if cause else None
    request.__context__ = ValueError("context") if context else None
    return request


@pytest.mark.parametrize("max_retries", [0, 5])
@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (asking(exc=True, cause=True, context=True), "exc"),
        (asking(cause=True, context=True), "cause"),
        (asking(context=True), "context"),
        (asking(), "asked to be retried"),
    ],
)
def test_the_error_of_a_retry_is_the_one_behind_it_granted_or_not(
    request_: Retry, message: str, max_retries: int
) -> None:
    outcome = decide(request_, RetryPolicy(max_retries=max_retries), 0)
    assert isinstance(outcome, Retried if max_retries else Buried)
    assert error_of(outcome).exc_message == message


@pytest.mark.parametrize(("seconds", "delay"), [(30, "+30000"), (0, "+0"), (-1, "+0")])
def test_a_snooze_counts_nothing_against_the_job(seconds: float, delay: str) -> None:
    assert decide(Snooze(seconds), RetryPolicy(max_retries=0), 99) == GivenBack(delay)


@pytest.mark.parametrize("error", [Reject("bad"), InvalidArguments("bad")])
def test_what_would_end_the_same_way_again_is_not_retried(error: BaseException) -> None:
    policy = RetryPolicy(autoretry_for=(Exception,), max_retries=None)
    outcome = decide(error, policy, 0)
    assert isinstance(outcome, Buried)
    assert error_of(outcome).exc_message == "bad"


def grouped(*errors: BaseException, depth: int = 1) -> BaseException:
    error: BaseException = BaseExceptionGroup("a task group", errors)
    for _ in range(depth - 1):
        error = BaseExceptionGroup("around it", [error])
    return error


@pytest.mark.parametrize("depth", [1, 3])
def test_what_is_asked_for_inside_a_task_group_is_heard(depth: int) -> None:
    policy = RetryPolicy(autoretry_for=(SoftTimeLimitExceeded,), default_retry_delay=2)
    asked = grouped(Retry(ValueError("x"), countdown=1), depth=depth)
    granted = decide(asked, policy, 0)
    assert isinstance(granted, Retried)
    assert (granted.delay, error_of(granted).exc_message) == ("+1000", "x")
    assert decide(grouped(Snooze(1), depth=depth), policy, 0) == GivenBack("+1000")
    assert error_of(decide(grouped(Reject("no"), depth=depth), policy, 0)).exc_message == "no"
    soft = decide(grouped(SoftTimeLimitExceeded("late"), depth=depth), policy, 0)
    assert isinstance(soft, Retried)
    assert soft.delay == "+2000"
    assert error_of(soft).exc_type == "aioq.core.errors.SoftTimeLimitExceeded"


@pytest.mark.parametrize(
    "error",
    [
        grouped(ValueError("alone")),
        grouped(Retry(), ValueError("beside it")),
        grouped(SoftTimeLimitExceeded(), ValueError("beside it")),
    ],
)
def test_a_group_of_the_tasks_own_errors_stays_a_group(error: BaseException) -> None:
    outcome = decide(error, RetryPolicy(), 0)
    assert isinstance(outcome, Buried)
    assert error_of(outcome).exc_type in {"ExceptionGroup", "BaseExceptionGroup"}
    assert original(error) is error


@pytest.mark.parametrize(
    ("acks_late", "has_started", "runs_again"),
    [(True, True, True), (True, False, True), (False, False, True), (False, True, False)],
)
def test_an_interrupted_job_runs_again_unless_that_could_be_twice(
    acks_late: bool,  # noqa: FBT001 - a row of the table
    has_started: bool,  # noqa: FBT001
    runs_again: bool,  # noqa: FBT001
) -> None:
    outcome = decide_interrupted("pkg.pay", acks_late=acks_late, has_started=has_started)
    if runs_again:
        assert outcome == GivenBack()
    else:
        error = error_of(outcome)
        assert error.exc_type == "aioq.core.errors.WorkerLost"
        assert "pkg.pay was interrupted" in error.exc_message
