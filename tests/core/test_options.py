"""The options of a task and of a call: each is checked, and what is not served is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core import options
from aioq.core.errors import ConfigurationError
from aioq.core.options import Call, CallOptions, TaskDefinition, TaskOptions


def define(**given: Any) -> TaskDefinition:  # noqa: ANN401 - any option
    return options.define({"name": "pkg.add", **given}, where="task pkg.add")


def call(**given: Any) -> Call:  # noqa: ANN401 - any option
    return options.call(given, where="pkg.add.options")


# Tasks


def test_every_option_has_its_default() -> None:
    assert define() == TaskDefinition(name="pkg.add")
    assert define(acks_late=True) == TaskDefinition(name="pkg.add")


@pytest.mark.parametrize(
    ("given_", "settled"),
    [
        ({"queue": "mail", "priority": 0}, {"queue": "mail", "priority": 0}),
        ({"max_retries": None}, {"max_retries": None}),
        ({"autoretry_for": (OSError,)}, {"autoretry_for": (OSError,)}),
        ({"autoretry_for": [OSError, KeyError]}, {"autoretry_for": (OSError, KeyError)}),
        ({"autoretry_for": OSError}, {"autoretry_for": (OSError,)}),
        ({"dont_autoretry_for": (KeyError,)}, {"dont_autoretry_for": (KeyError,)}),
        ({"retry_kwargs": {"max_retries": 5}}, {"max_retries": 5}),
        ({"retry_kwargs": {"countdown": 2}}, {"default_retry_delay": 2}),
        ({"retry_backoff": True}, {"retry_backoff": True}),
        ({"retry_backoff": 2}, {"retry_backoff": 2}),
        ({"expires": 30, "result_expires": 0}, {"expires": 30, "result_expires": 0}),
        ({"executor": "process"}, {"executor": "process"}),
        ({"compression": "zstd"}, {"compression": "zstd"}),
    ],
)
def test_options_are_settled(given_: dict[str, Any], settled: dict[str, Any]) -> None:
    assert define(**given_) == TaskDefinition(name="pkg.add", **settled)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"priority": 10}, r"priority=10 is wrong: .*<= 9"),
        ({"priority": -1}, r"priority=-1 is wrong: .*>= 0"),
        ({"priority": "high"}, r"priority='high' is wrong: Expected `int"),
        ({"max_retries": -1}, r"max_retries=-1 is wrong"),
        ({"default_retry_delay": -1}, r"default_retry_delay=-1 is wrong"),
        ({"retry_backoff": -1.5}, r"retry_backoff=-1.5 is wrong"),
        ({"retry_jitter": "no"}, r"retry_jitter='no' is wrong: Expected `bool`"),
        ({"expires": -1}, r"expires=-1 is wrong"),
        ({"queue": "a b"}, r"queue='a b' is wrong"),
        ({"queue": "a:b"}, r"queue='a:b' is wrong"),
        ({"queue": ""}, r"queue='' is wrong"),
        ({"queue": "{q}"}, r"queue='{q}' is wrong"),
        ({"queue": "q" * 101}, r"queue='q+' is wrong"),
        ({"name": ""}, r"name='' is wrong"),
        ({"executor": "gpu"}, r"executor='gpu' is wrong"),
        ({"autoretry_for": (3,)}, r"autoretry_for takes exception classes, not 3"),
        ({"autoretry_for": (OSError("x"),)}, r"autoretry_for takes exception classes, not OSError"),
        ({"dont_autoretry_for": (int,)}, r"dont_autoretry_for takes exception classes"),
        ({"retry_kwargs": {"max_retires": 5}}, r"unknown key of retry_kwargs 'max_retires'; did"),
        ({"retry_kwargs": {"max_retries": -5}}, r"max_retries=-5 is wrong"),
        ({"compression": "lz4"}, r"compression='lz4' is unknown"),
        ({"time_limit": 0}, r"time_limit=0 is wrong: .*> 0.* \(None for no limit\)"),
        ({"time_limit": -5}, r"time_limit=-5 is wrong"),
        ({"time_limit": float("nan")}, r"time_limit=nan is wrong"),
        ({"time_limit": float("inf")}, r"time_limit=inf is wrong"),
        ({"time_limit": "5m"}, r"time_limit='5m' is wrong: Expected `float"),
        ({"time_limit": timedelta(1)}, r"time_limit=.* is wrong"),
        ({"soft_time_limit": 0}, r"soft_time_limit=0 is wrong: .*\(None for no limit\)"),
        ({"max_crashes": 0}, r"max_crashes=0 is wrong: .*>= 1.*acks_late=False for at most once"),
        ({"max_crashes": -1}, r"max_crashes=-1 is wrong"),
        ({"max_crashes": 2.5}, r"max_crashes=2.5 is wrong"),
        ({"acks_late": 1}, r"acks_late=1 is wrong: Expected `bool`"),
        ({"acks_late": None}, r"acks_late=None is wrong"),
        ({"soft_time_limit": 5, "time_limit": 5}, r"soft_time_limit=5 comes too late.*limit=5"),
        ({"soft_time_limit": 9, "time_limit": 5}, r"soft_time_limit=9 comes too late.*limit=5"),
        (
            {"soft_time_limit": 9, "executor": "thread"},
            r"soft_time_limit=9 cannot be kept: .*thread.*async def.*executor=\"process\"",
        ),
    ],
)
def test_a_value_that_is_wrong_is_named_with_its_option(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        define(**given_)


def test_retry_kwargs_that_are_no_mapping_are_named() -> None:
    with pytest.raises(ConfigurationError, match="retry_kwargs=3"):
        define(retry_kwargs=3)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_retrys", "max_retries"),
        ("ques", "queue"),
        ("autoretry_fo", "autoretry_for"),
        ("expire", "expires"),
        ("compress", "compression"),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_what_may_have_been_meant(
    name: str, meant: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"unknown option '{name}'; did you mean '{meant}"):
        define(**{name: 1})


def test_an_option_that_is_like_none_is_refused_with_all_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"unknown option 'xyzzy'; known are .*max_retries"
    ):
        define(xyzzy=1)


def test_the_checkers_options_are_those_that_are_accepted() -> None:
    assert set(get_type_hints(TaskOptions)) == set(options.OPTION_NAMES)
    assert set(get_type_hints(CallOptions)) == set(options.CALL_NAMES)


@pytest.mark.parametrize("executor", ["loop", "process"])
def test_the_soft_limit_is_the_shorter_one(executor: str) -> None:
    definition = define(soft_time_limit=250, time_limit=300, executor=executor)
    assert (definition.soft_time_limit, definition.time_limit) == (250, 300)
    assert define(soft_time_limit=0.5, executor=executor).time_limit is None


def test_a_thread_may_have_a_time_limit() -> None:
    assert define(time_limit=5, executor="thread").time_limit == 5


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({}, ""),
        ({"max_crashes": 3}, ""),
        ({"max_crashes": 1}, "1"),
        ({"max_crashes": 10}, "10"),
        ({"max_crashes": None}, "inf"),
        ({"acks_late": False}, "0"),
        ({"acks_late": False, "max_crashes": None}, "0"),
    ],
)
def test_the_server_is_told_how_many_crashes_bury_a_job(given_: dict[str, Any], told: str) -> None:
    assert define(**given_).crash_limit == told


def test_the_retry_policy_has_the_options_it_is_made_of() -> None:
    definition = define(
        max_retries=7,
        autoretry_for=OSError,
        default_retry_delay=3,
        retry_backoff=2,
        retry_jitter=False,
    )
    policy = definition.retry_policy
    assert (policy.max_retries, policy.autoretry_for) == (7, (OSError,))
    assert [policy.delay(n) for n in range(3)] == [2, 4, 8]
    assert all(
        getattr(policy, name) == getattr(definition, name) for name in policy.__struct_fields__
    )


# Calls


def test_a_call_without_options_has_none() -> None:
    assert call() == options.NO_OPTIONS
    assert call().due(None) == ""


@pytest.mark.parametrize(
    ("given_", "due"),
    [
        ({"countdown": 0}, ""),
        ({"countdown": 1.5}, "+1500"),
        ({"countdown": 0.0001}, "+1"),
        ({"eta": datetime(2030, 1, 1, tzinfo=UTC)}, "1893456000000"),
        ({"eta": None, "countdown": 3}, "+3000"),
    ],
)
def test_a_call_says_when_it_is_due(given_: dict[str, Any], due: str) -> None:
    assert call(**given_).due(None) == due


@given(st.none() | st.floats(0, 1e9) | st.datetimes(timezones=st.just(UTC)))
def test_an_expiry_is_a_duration_or_a_moment(expires: float | datetime | None) -> None:
    text = options.expires_text(expires, None)
    if expires is None:
        assert text == ""
    else:
        assert text.startswith("+") is not isinstance(expires, datetime)
        assert text.lstrip("+-").isdigit()


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"countdown": -1}, r"countdown=-1 is wrong"),
        ({"countdown": float("nan")}, r"countdown=nan is wrong"),
        ({"countdown": timedelta(1)}, r"countdown=datetime.timedelta\(days=1\) is wrong"),
        ({"eta": 5}, r"eta=5 is wrong: Expected `datetime"),
        ({"countdown": 1, "eta": datetime(2030, 1, 1, tzinfo=UTC)}, r"countdown and eta both"),
        ({"expires": -1}, r"expires=-1 is wrong"),
        ({"priority": 10}, r"priority=10 is wrong"),
        ({"queue": "a,b"}, r"queue='a,b' is wrong"),
        ({"job_id": ""}, r"job_id='' is wrong"),
        ({"job_id": "a b"}, r"job_id='a b' is wrong"),
        ({"job_id": "{a}"}, r"job_id='{a}' is wrong"),
        ({"job_id": "ü"}, r"job_id='ü' is wrong"),
        ({"job_id": "x" * 129}, r"job_id='x+' is wrong"),
        ({"job_id": "a\n"}, r"job_id='a\\n' is wrong"),
        ({"headers": [1]}, r"headers=\[1\] is wrong"),
        ({"cuontdown": 1}, r"unknown option 'cuontdown'; did you mean 'countdown'"),
        ({"max_retries": 1}, r"unknown option 'max_retries'"),
    ],
)
def test_a_wrong_option_of_a_call_is_named(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        call(**given_)


@pytest.mark.parametrize("name", ["countdown", "expires"])
@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_a_moment_that_never_comes_is_refused_by_name(name: str, seconds: float) -> None:
    """It would be an OverflowError here, or a number that no script and no datetime can hold."""
    with pytest.raises(ConfigurationError, match=f"{name}="):
        call(**{name: seconds})


@given(
    st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="{}"),
        min_size=1,
        max_size=128,
    )
)
def test_any_printable_ascii_is_a_job_id(job_id: str) -> None:
    assert call(job_id=job_id).job_id == job_id
