"""A request to suspend is found wherever it comes out of a task, and errors beside it count."""

import pytest

from aioq.core.errors import NonDeterministic, SuspendSwallowed
from aioq.core.outcome import Buried, Suspended, decide
from aioq.core.retry import RetryPolicy
from aioq.core.suspend import Suspend, suspend_in

ALL = RetryPolicy(autoretry_for=(Exception,))


def test_a_wait_suspends_the_job_whatever_its_retries_say() -> None:
    assert decide(Suspend(5, ("a", "child 1")), ALL, 99) == Suspended("5", "a\nchild 1")
    assert decide(Suspend(None, ()), ALL, 0) == Suspended("", "")


def test_waits_of_branches_are_one() -> None:
    first, other = Suspend(5, ()), Suspend(7, ())
    nested = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [first]), other])
    assert suspend_in(nested) is first


def test_an_error_beside_a_wait_counts() -> None:
    group = BaseExceptionGroup("both", [Suspend(5, ()), ValueError("broken")])
    assert suspend_in(group) is None
    assert isinstance(decide(group, RetryPolicy(), 0), Buried)
    assert suspend_in(ValueError()) is None


@pytest.mark.parametrize("error", [NonDeterministic("other"), SuspendSwallowed("swallowed")])
def test_what_would_end_the_same_way_is_not_tried_again(error: Exception) -> None:
    assert isinstance(decide(error, ALL, 0), Buried)


def test_no_except_exception_catches_a_wait() -> None:
    assert not issubclass(Suspend, Exception)
