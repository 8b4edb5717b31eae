"""The holds of a job: names, keys and costs as tokens of text."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import enum
import inspect
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core import options
from aioq.core.bucket import Concurrency, TokenBucket
from aioq.core.errors import ConfigurationError
from aioq.core.holds import decode_name, encode_key, encode_name, holds_of, limits_of
from aioq.core.options import TaskDefinition


class Colour(enum.Enum):
    RED = "red"


def definition(**given: Any) -> TaskDefinition:  # noqa: ANN401 - any option
    return options.define({"name": "mail.send", **given}, where="task mail.send")


def holds(
    function: Callable[..., object], *args: object, given: dict[str, Any], **kwargs: object
) -> str | None:
    found = holds_of(definition(**given), inspect.signature(function))
    return found and found.of(args, kwargs)


def send(user_id: int, text: str = "hello", *, urgent: bool = False) -> None: ...


def total(first: int, *rest: int, **more: int) -> None: ...


def test_a_task_without_limits_has_no_holds() -> None:
    assert holds(send, 1, given={}) is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"rate_limit": "10/m"}, "b:mail.send:"),
        ({"max_concurrency": 5}, "c:mail.send:"),
        ({"rate_limit": TokenBucket(5, cost=3)}, "b:mail.send:=3"),
        ({"rate_limit": "10/m", "rate_limit_name": "stripe"}, "b:stripe:"),
        ({"rate_limit": "1/s", "rate_limit_name": "a: =%"}, "b:a%3A%20%3D%25:"),
        ({"rate_limit": ["10/s", "100/h"]}, "b:mail.send: b:mail.send#2:"),
        ({"max_concurrency": [5, Concurrency(2, name="db")]}, "c:mail.send: c:db:"),
        ({"fair_by": lambda user_id, **_: user_id}, "f:7"),
        (
            {
                "fair_by": lambda user_id, **_: user_id,
                "rate_limit": TokenBucket(5, key=lambda user_id, **_: user_id),
                "max_concurrency": Concurrency(5, key=lambda text, **_: text),
            },
            "f:7 b:mail.send:7 c:mail.send:hello",
        ),
        ({"rate_limit": TokenBucket(9, cost=lambda text, **_: len(text))}, "b:mail.send:=5"),
        ({"rate_limit": TokenBucket(9, cost=lambda urgent, **_: 1 + urgent)}, "b:mail.send:"),
    ],
)
def test_limits_become_tokens(given: dict[str, Any], text: str) -> None:
    assert holds(send, 7, given=given) == text


def test_functions_are_called_with_every_argument_by_its_name() -> None:
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def key(*args: object, **kwargs: object) -> int:
        calls.append((args, kwargs))
        return 1

    given = {"fair_by": key}
    everything = {"user_id": 7, "text": "hi", "urgent": True}
    holds(send, 7, "hi", urgent=True, given=given)
    holds(send, user_id=7, text="hi", urgent=True, given=given)
    holds(send, 7, given=given)
    assert calls == [
        ((), everything),
        ((), everything),
        ((), everything | {"text": "hello", "urgent": False}),
    ]


def test_arguments_for_star_args_make_the_call_as_the_task_itself_is_called() -> None:
    assert holds(total, 1, 2, 3, given={"fair_by": lambda first, *rest: f"{first}-{rest}"}) == (
        f"f:{encode_key('1-(2, 3)')}"
    )
    assert holds(total, 1, given={"fair_by": lambda first, *_: first}) == "f:1"
    assert holds(total, 1, x=4, given={"fair_by": lambda x, **_: x}) == "f:4"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("tenant-7", "tenant-7"),
        ("", ""),
        (7, "7"),
        (Colour.RED, "red"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ("a:b", "a:b"),
        ("Zürich", "Zürich"),
        ("x" * 40, "x" * 40),
    ],
)
def test_a_key_is_its_text(key: object, text: str) -> None:
    assert encode_key(key) == text


@given(st.text())
def test_any_text_is_a_key_without_spaces_and_different_texts_are_different_keys(text: str) -> None:
    encoded = encode_key(text)
    assert not set(encoded) & set(" =\t\r\n\x0b\x0c")
    assert len(encoded) <= 40
    assert encoded == encode_key(text)
    assert encoded != encode_key(text + "x")


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_a_name_is_escaped_and_comes_back(name: str) -> None:
    encoded = encode_name(name)
    assert not set(encoded) & set(" :=\t\r\n\x0b\x0c")
    assert decode_name(encoded) == name


@pytest.mark.parametrize("key", [None, 1.5, [1], object(), b"x"])
def test_what_is_no_key_is_refused(key: object) -> None:
    with pytest.raises(TypeError, match="is no key: it is a str, an int, a UUID or an Enum"):
        encode_key(key)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"fair_by": lambda **_: None},
            r"^task mail\.send: fair_by returned None is no key",
        ),
        (
            {"rate_limit": TokenBucket(5, key=lambda **_: 1.5)},
            r"^task mail\.send: the key of rate_limit returned 1\.5 is no key",
        ),
        (
            {"max_concurrency": Concurrency(5, key=lambda tenant, **_: tenant)},
            r"^task mail\.send: the key of max_concurrency raised TypeError: .*by their names",
        ),
        (
            {"rate_limit": TokenBucket(5, cost=lambda **_: 6)},
            r"^task mail\.send: the cost of rate_limit returned 6; .* to the burst of 5",
        ),
        (
            {"rate_limit": TokenBucket(5, cost=lambda **_: 0)},
            r"^task mail\.send: the cost of rate_limit returned 0",
        ),
    ],
)
def test_a_function_that_gives_nothing_useful_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        holds(send, 7, given=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate_limit_name": "stripe"}, r"rate_limit_name='stripe' names one rate limit.* 0"),
        (
            {"rate_limit": ["1/s", "9/m"], "rate_limit_name": "stripe"},
            r"rate_limit_name='stripe' names one rate limit, and there are 2",
        ),
        (
            {"max_concurrency": [Concurrency(5, name="db"), Concurrency(2, name="db")]},
            r"two of its limits are named 'db'",
        ),
    ],
)
def test_names_that_do_not_go_together_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^task mail\.send: {said}"):
        limits_of(definition(**given))


def test_fair_by_must_be_a_function() -> None:
    with pytest.raises(ConfigurationError, match=r"fair_by='tenant' is wrong: it is a function"):
        definition(fair_by="tenant")
