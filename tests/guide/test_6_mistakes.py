"""One clear error for each mistake; nothing is queued, nothing is lost."""

import asyncio
import gc
import inspect
import os
import warnings
from datetime import datetime

import pytest

import aioq
from aioq import (
    Aioq,
    BrokerUnavailable,
    ConfigurationError,
    InvalidArguments,
    PayloadTooLarge,
    Settings,
    TaskFailed,
)
from aioq.testing import running

app = Aioq(settings=Settings(max_payload=1000))


@app.task
async def add(x: int, y: int) -> int:
    return x + y


@app.task
async def remember(data: bytes) -> None: ...


@app.task
async def unserialisable() -> object:
    return object()


@pytest.mark.parametrize(
    ("args", "kwargs", "complaint"),
    [((1,), {}, "missing"), ((1, 2, 3), {}, "too many"), ((1,), {"z": 2}, "missing|unexpected")],
)
def test_a_wrong_call_is_a_type_error_before_anything_is_awaited(
    args: tuple[int, ...], kwargs: dict[str, int], complaint: str
) -> None:
    with pytest.raises(TypeError, match=complaint):
        _ = add.enqueue(*args, **kwargs)


def test_what_cannot_be_serialised_is_named() -> None:
    with pytest.raises(InvalidArguments, match=r"argument 'y' of .*add, of type lock") as caught:
        _ = add.enqueue(1, y=__import__("threading").Lock())

    assert isinstance(caught.value, TypeError)


def test_a_payload_that_is_too_large_says_how_large() -> None:
    with pytest.raises(PayloadTooLarge, match=r"take 5,0\d\d bytes, more than max_payload=1,000"):
        _ = remember.enqueue(b"x" * 5000)


async def test_arguments_that_do_not_fit_fail_the_job_without_a_retry() -> None:
    async with running(app):
        job = await app.send_task(add.name, args=("one", 2))
        with pytest.raises(TaskFailed, match=r"argument 'x'.*Expected `int`, got `str`") as caught:
            await job.result(timeout=10)

        assert caught.value.exc_type == "aioq.core.errors.InvalidArguments"
        assert (await job.info()).deliveries == 1


async def test_a_result_that_cannot_be_serialised_fails_the_job() -> None:
    async with running(app):
        with pytest.raises(TaskFailed, match=r"returned a value of type object"):
            await (await unserialisable.enqueue()).result(timeout=10)


async def test_an_unreachable_server_is_one_error_after_the_timeout() -> None:
    away = Aioq("redis://localhost:1/0", settings=Settings(enqueue_timeout=0.1))
    there = away.task(add.function)
    with pytest.raises(BrokerUnavailable, match=r"cannot reach redis://localhost:1/0.*tried for"):
        await there.enqueue(1, 2)


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://localhost/x"])
def test_a_url_that_cannot_be_read_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL"):
        Aioq(url)


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ({"unique": "user"}, r"unique='user' is wrong: it is True, False or a Unique"),
        ({"rate_limit": "fast"}, r"rate_limit='fast' is wrong: a rate is text such as"),
        ({"max_concurrency": 0}, r"max_concurrency=0 is wrong"),
        ({"rate_limit_name": "stripe"}, r"rate_limit_name='stripe' names one rate limit"),
        ({"time_limit": 0}, r"time_limit=0 is wrong"),
        ({"soft_time_limit": 60, "time_limit": 30}, r"soft_time_limit=60 comes too late"),
        ({"max_crashes": 0}, r"max_crashes=0 is wrong"),
        ({"prioritty": 3}, r"unknown option 'prioritty'; did you mean 'priority'"),
        ({"priority": 10}, r"priority=10 is wrong: Expected `int` <= 9"),
        ({"executor": "thread"}, r"is an async def"),
    ],
)
def test_an_option_is_refused_by_name(option: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Aioq().task(**option)(add.function)  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_two_tasks_of_one_name_are_refused() -> None:
    other = Aioq()
    other.task(name="same")(add.function)
    with pytest.raises(ConfigurationError, match="two tasks are named 'same'"):
        other.task(name="same")(remember.function)


async def test_a_shared_task_without_an_app_says_so() -> None:
    @aioq.task
    async def homeless() -> None: ...

    with pytest.raises(ConfigurationError, match="belongs to no app yet"):
        _ = homeless.enqueue()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("broker_url", r"Settings\(url=...\)"),
        ("task_routes", r"Settings\(task_routes=...\)"),
        ("task_time_limit", r"task_annotations=.*'time_limit'"),
        ("task_rate_limit", r"task_annotations=.*'rate_limit'"),
        ("beat_schedule", r"app\.beat_schedule = \{"),
    ],
)
def test_celerys_conf_is_one_error_that_names_the_setting(name: str, instead: str) -> None:
    with pytest.raises(ConfigurationError, match=instead):
        setattr(app.conf, name, {})
    with pytest.raises(ConfigurationError, match=instead):
        app.conf.update({name: {}})


def test_an_enqueue_that_nobody_awaits_warns_with_its_line() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    line = frame.f_lineno + 3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        add.enqueue(1, 2)  # pyright: ignore[reportUnusedCoroutine]
        gc.collect()

    messages = [str(warning.message) for warning in caught]
    assert any(f"{os.path.basename(__file__)}:{line}" in each and "never awaited" in each  # noqa: PTH119
               for each in messages), messages  # fmt: skip


def test_enqueue_is_a_coroutine_function_that_returns_a_real_coroutine() -> None:
    assert inspect.iscoroutinefunction(add.enqueue)
    assert inspect.iscoroutinefunction(add.options(priority=1).delay)
    coroutine = add.enqueue(1, 2)
    assert asyncio.iscoroutine(coroutine)
    coroutine.close()


def test_a_naive_datetime_in_retry_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="no timezone"):
        aioq.Retry(eta=datetime(2030, 1, 1))  # noqa: DTZ001 - what the test is about
