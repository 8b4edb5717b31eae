"""Unique jobs: what a key is made of, and which calls mean the same."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import copy
import dataclasses
import inspect
import subprocess
import sys
import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioq.core import options
from aioq.core.errors import ConfigurationError, InvalidArguments, NotUnique
from aioq.core.unique import Key, Unique, read_unique
from aioq.core.unique_key import UniqueKeys

NOTHING = object()


class Colour(StrEnum):
    RED = "red"


def f(x: Any, y: int = 2, *rest: Any, z: Any = None, **more: Any) -> None: ...  # noqa: ANN401 - any


def with_sentinel(x: int, y: object = NOTHING) -> None: ...


def key_of(
    *args: Any,  # noqa: ANN401 - any arguments
    unique: Unique | None = None,
    task: str = "mail",
    function: Callable[..., Any] = f,
    **kwargs: Any,  # noqa: ANN401 - any arguments
) -> str:
    word = UniqueKeys(task, inspect.signature(function)).word(unique or Unique(), args, kwargs)
    start, _, key = word.partition("::")
    assert start == "u:dr"
    return key


def test_calls_that_mean_the_same_have_the_same_key() -> None:
    same = {
        key_of(1, y=2),
        key_of(x=1, y=2),
        key_of(1),
        key_of(1, 2),
        key_of(y=2, x=1),
        key_of(1, z=None),
    }
    assert len(same) == 1


def test_other_arguments_and_other_tasks_have_other_keys() -> None:
    calls = [
        key_of(1),
        key_of(2),
        key_of("1"),
        key_of(1, 3),
        key_of(1, 2, 3),
        key_of(1, z=3),
        key_of(1, other=2),
        key_of(1, task="letter"),
    ]
    assert len(set(calls)) == len(calls)


def test_the_order_inside_of_an_argument_does_not_matter() -> None:
    assert key_of({"a": 1, "b": {"c": 2, "d": 3}}) == key_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert key_of(1, other=1, more=2) == key_of(1, more=2, other=1)
    assert key_of({"x", "y", "z"}) == key_of({"z", "y", "x"})


def test_a_set_of_text_has_the_same_key_in_every_process() -> None:
    """Each process orders it differently."""
    program = (
        "import inspect; from aioq.core.unique import Unique;"
        "from aioq.core.unique_key import UniqueKeys;"
        "keys = UniqueKeys('mail', inspect.signature(lambda x: 0));"
        "print(keys.word(Unique(), ({'a', 'b', 'c', 'd', 'e'},), {}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(1, 4)
    }
    assert len(found) == 1


def test_a_value_and_what_it_is_on_the_wire_are_the_same() -> None:
    @dataclasses.dataclass
    class Address:
        street: str
        city: str

    assert key_of(Address("s", "c")) == key_of({"city": "c", "street": "s"})


def test_a_default_that_cannot_be_sent_is_no_part_of_the_key() -> None:
    assert key_of(1, function=with_sentinel) == key_of(x=1, function=with_sentinel)
    assert key_of(1, function=with_sentinel) != key_of(1, 2, function=with_sentinel)


def test_an_argument_that_cannot_be_serialised_is_named() -> None:
    with pytest.raises(InvalidArguments, match=r"argument 'x' of mail, of type object, cannot be"):
        key_of(object())


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("nightly", "mail:nightly"),
        (17, "mail:17"),
        (Colour.RED, "mail:red"),
        (lambda x, **_: x, "mail:1"),
        (lambda y, z, **_: f"{y}-{z}", "mail:2-None"),
    ],
)
def test_a_key_is_a_value_or_a_function_of_the_arguments_by_name(key: Key, text: str) -> None:
    assert key_of(1, unique=Unique(key=key)) == text


def test_a_uuid_is_a_key() -> None:
    value = uuid.uuid4()
    assert key_of(1, unique=Unique(key=value)) == f"mail:{value}"


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_text_makes_one_short_word_and_no_two_make_the_same(one: str, other: str) -> None:
    first, second = (key_of(1, unique=Unique(key=each)) for each in (one, other))
    assert len(first.encode()) <= 48
    assert not any(each.isspace() for each in first)
    assert (first == second) == (one == other)


@given(st.text(min_size=1, max_size=200))
def test_any_name_of_a_task_makes_one_short_word(task: str) -> None:
    for key in (key_of(1, task=task), key_of(1, task=task, unique=Unique(key="k"))):
        assert len(key.encode("utf-8", "surrogatepass")) <= 48
        assert not any(each.isspace() for each in key)


@pytest.mark.parametrize("wrong", [1.5, b"k", ("a", "b")])
def test_a_key_that_is_none_is_named(wrong: Key) -> None:
    with pytest.raises(
        ConfigurationError, match=r"task mail: the key of unique is wrong: .* no key"
    ):
        key_of(1, unique=Unique(key=wrong))
    with pytest.raises(
        ConfigurationError, match=r"task mail: the key of unique returned .* no key"
    ):
        key_of(1, unique=Unique(key=lambda **_: wrong))


def test_a_key_that_raises_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"the key of unique raised TypeError: .*lambda"):
        key_of(1, unique=Unique(key=lambda user_id: user_id))


def test_without_the_code_of_the_task_arguments_cannot_be_compared_and_a_key_can() -> None:
    keys = UniqueKeys("mail", None)
    with pytest.raises(ConfigurationError, match=r"the code of task mail is not here.*give a key"):
        keys.word(Unique(), (1,), {})
    assert keys.word(Unique(key="k"), (1,), {}) == "u:dr::mail:k"
    by_argument = Unique(key=lambda x: x)
    assert keys.word(by_argument, (), {"x": 3}) == "u:dr::mail:3"


@pytest.mark.parametrize(
    ("unique", "word"),
    [
        (Unique(), "u:dr::k"),
        (Unique(until="start"), "u:sr::k"),
        (Unique(on_conflict="reject"), "u:dj::k"),
        (Unique(on_conflict="replace", for_=0.5), "u:dp:500:k"),
        (Unique(on_conflict="debounce"), "u:sb::k"),
        (Unique(on_conflict="debounce", until="start", for_=60), "u:sb:60000:k"),
        (Unique(for_=1e-9), "u:dr:1:k"),
    ],
)
def test_the_server_is_told_in_one_word(unique: Unique, word: str) -> None:
    assert unique.word("k") == word


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"until": "end"}, "until='end' is wrong: it is one of 'start', 'done'"),
        ({"on_conflict": "ignore"}, "on_conflict='ignore' is wrong: it is one of 'return', 'rej"),
        ({"on_conflict": None}, "on_conflict=None is wrong"),
        ({"for_": 0}, "for_=0 is wrong: it is a number of seconds"),
        ({"for_": True}, "for_=True is wrong"),
        ({"for_": "60"}, "for_='60' is wrong"),
        ({"for_": float("nan")}, "for_=nan is wrong"),
        ({"for_": float("inf")}, "for_=inf is wrong"),
        ({"on_conflict": "debounce", "until": "done"}, "contradict each other"),
    ],
)
def test_a_wrong_value_is_named(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Unique(**given)


def test_the_option_is_true_false_or_a_unique() -> None:
    own = Unique(for_=5)
    for option, read in ((True, Unique()), (own, own), (False, None), (None, None)):
        assert read_unique(option, where="t") == read
    with pytest.raises(ConfigurationError, match=r"^t: unique='user' is wrong: it is True, False"):
        read_unique("user", where="t")


def test_a_task_and_a_call_take_the_option() -> None:
    assert options.define({"name": "t", "unique": True}, where="t").unique == Unique()
    assert options.define({"name": "t"}, where="t").unique is None
    assert options.call({"unique": True}, where="t").unique == Unique()
    assert options.call({"unique": False}, where="t").unique is False
    assert options.call({"countdown": 1}, where="t").unique is None
    for read in (options.define, options.call):
        with pytest.raises(ConfigurationError, match="unique=3 is wrong"):
            read({"name": "t", "unique": 3} if read is options.define else {"unique": 3}, where="t")


def test_the_error_names_the_job_and_survives_a_copy() -> None:
    error = copy.copy(NotUnique("j1", "mail"))
    assert error.job_id == "j1"
    assert str(error).startswith("job j1 of mail has the same unique key and has not ended")
