"""What a task accepts: checked at the call, converted at the worker."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import pydantic
import pytest

from aioq.context import CONTEXT, Context, Request
from aioq.core.codec import Payload
from aioq.core.errors import ConfigurationError, InvalidArguments
from aioq.core.retry import RetryPolicy
from aioq.core.signature import Parameters
from aioq.tasks import Task
from aioq.worker.plan import Plan

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")
Function = Callable[..., Any]


def parameters(function: Function, *, bind: bool = False) -> Parameters:
    return Parameters(function, task="task", injected=Context, bind=bind)


def accepts(function: Function, *args: object, **kwargs: object) -> bool:
    try:
        parameters(function).check(args, kwargs)
    except TypeError:
        return False
    return True


def plain(x: int, y: int = 0) -> None: ...
def nothing() -> None: ...
def any_number(*values: int) -> None: ...
def any_names(**values: int) -> None: ...
def anything(*args: int, **kwargs: str) -> None: ...
def only_names(x: int, *, y: int) -> None: ...
def names_with_default(x: int, *, y: int = 0) -> None: ...
def only_positions(x: int, y: int = 0, /) -> None: ...
def all_kinds(a: int, /, b: int, *rest: int, c: int, d: int = 0, **other: int) -> None: ...


CALLS: list[tuple[Function, tuple[object, ...], dict[str, object]]] = [
    (plain, (), {}),
    (plain, (1,), {}),
    (plain, (1, 2), {}),
    (plain, (1, 2, 3), {}),
    (plain, (), {"x": 1}),
    (plain, (), {"y": 1}),
    (plain, (1,), {"x": 1}),
    (plain, (1,), {"y": 1}),
    (plain, (1,), {"z": 1}),
    (nothing, (), {}),
    (nothing, (1,), {}),
    (nothing, (), {"x": 1}),
    (any_number, (), {}),
    (any_number, (1, 2, 3), {}),
    (any_number, (), {"values": 1}),
    (any_names, (), {"a": 1, "b": 2}),
    (any_names, (1,), {}),
    (anything, (1, 2), {"a": "b"}),
    (only_names, (1,), {}),
    (only_names, (1, 2), {}),
    (only_names, (1,), {"y": 2}),
    (names_with_default, (1,), {}),
    (names_with_default, (1, 2), {}),
    (only_positions, (1, 2), {}),
    (only_positions, (), {"x": 1}),
    (all_kinds, (1, 2), {"c": 3}),
    (all_kinds, (1,), {"b": 2, "c": 3}),
    (all_kinds, (1, 2, 3, 4), {"c": 5, "e": 6}),
    (all_kinds, (1, 2), {}),
    (all_kinds, (), {"a": 1, "b": 2, "c": 3}),
    (all_kinds, (1,), {"a": 2, "b": 2, "c": 3}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), CALLS)
def test_a_call_is_right_where_python_would_call_the_function(
    function: Function, args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    try:
        function(*args, **kwargs)
    except TypeError:
        expected = False
    else:
        expected = True
    assert accepts(function, *args, **kwargs) is expected


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"z": 1}, "got an unexpected keyword argument 'z'"),
        ((1,), {"x": 1}, "multiple values for argument 'x'"),
    ],
)
def test_a_wrong_call_is_told_with_the_task_and_its_signature(
    args: tuple[object, ...], kwargs: dict[str, object], said: str
) -> None:
    with pytest.raises(TypeError, match=rf"^task\(x: 'int', y: 'int' = 0\) -> 'None': {said}"):
        parameters(plain).check(args, kwargs)


# The context


def first(self: Context, x: int) -> None: ...
def by_annotation(x: int, ctx: Context) -> None: ...
def by_default(x: int, ctx: Context = CONTEXT) -> None: ...
def by_default_alone(x: int, ctx=CONTEXT) -> None: ...  # pyright: ignore[reportMissingParameterType]
def by_name_only(x: int, *, ctx: Context) -> None: ...
def twice(x: int, a: Context, b: Context = CONTEXT) -> None: ...
def in_front(ctx: Context, x: int) -> None: ...
def by_position(ctx: Context, x: int, /) -> None: ...
def or_none(x: int, ctx: Context | None = None) -> None: ...
def annotated(x: int, ctx: Annotated[Context, "anything"] = CONTEXT) -> None: ...


@pytest.mark.parametrize(
    "function", [by_annotation, by_default, by_default_alone, by_name_only, twice, in_front]
)
def test_the_context_is_no_part_of_what_the_caller_may_pass(function: Function) -> None:
    assert list(parameters(function).signature.parameters) == ["x"]
    assert accepts(function, 1)
    assert accepts(function, x=1)
    assert not accepts(function, 1, 2)
    assert not accepts(function, 1, ctx=2)


def test_a_bound_task_takes_its_context_first_whatever_it_is_called() -> None:
    assert list(parameters(first, bind=True).signature.parameters) == ["x"]

    def other_name(task: Any, x: int) -> None: ...  # noqa: ANN401 - any annotation will do

    assert list(parameters(other_name, bind=True).signature.parameters) == ["x"]


def test_a_bound_task_needs_a_parameter_for_its_context() -> None:
    with pytest.raises(ConfigurationError, match="bind=True but takes no parameter"):
        parameters(nothing, bind=True)


def run(function: Function, payload: Payload, *, bind: bool = False) -> tuple[Any, ...]:
    """Call a function as a worker does; return what it got."""
    got: list[Any] = []

    def recording(*args: object, **kwargs: object) -> None:
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        got.extend(bound.arguments.values())

    task = Task[..., Any](function, {"name": "task"}, bind=bind)
    plan = Plan(
        task=task,
        name="task",
        function=recording,
        parameters=task.parameters,
        executor="thread",
        retry_policy=RetryPolicy(),
        ignore_result=False,
        keep_ms=0,
        bind=bind,
        acks_late=True,
        time_limit=None,
        soft_time_limit=None,
        is_plain=False,
    )
    args, kwargs = plan.arguments(payload, CTX)
    recording(*args, **kwargs)
    return tuple(got)


CTX = Context(request=Request("id", 0, 1, None), task_name="task", queue="default")


@pytest.mark.parametrize(
    ("function", "bind", "expected"),
    [
        (first, True, (CTX, 1)),
        (by_annotation, False, (1, CTX)),
        (by_default, False, (1, CTX)),
        (by_default_alone, False, (1, CTX)),
        (by_name_only, False, (1, CTX)),
        (twice, False, (1, CTX, CTX)),
        (in_front, False, (CTX, 1)),
        (by_position, False, (CTX, 1)),
        (or_none, False, (1, CTX)),
        (annotated, False, (1, CTX)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize(
    "payload", [Payload([1]), Payload([], {"x": 1})], ids=["by position", "by name"]
)
def test_every_parameter_annotated_context_is_filled(
    function: Function, expected: tuple[object, ...], payload: Payload, *, bind: bool
) -> None:
    if function is by_position and payload.kwargs:
        payload = Payload([1])
    assert run(function, payload, bind=bind) == expected


# Conversion


def typed(
    number: int, moment: datetime, ids: list[UUID], *rest: float, name: str = "", **more: UUID
) -> None: ...


ID = "12345678-1234-5678-1234-567812345678"


def test_arguments_of_every_kind_are_converted() -> None:
    converters = parameters(typed).converters
    assert converters.args([1, "2030-01-01T00:00:00", [ID], 1, 2.5]) == [
        1,
        datetime(2030, 1, 1),  # noqa: DTZ001
        [UUID(ID)],
        1.0,
        2.5,
    ]
    assert converters.kwargs({"name": "x", "moment": "2030-01-01T00:00:00", "other": ID}) == {
        "name": "x",
        "moment": datetime(2030, 1, 1),  # noqa: DTZ001
        "other": UUID(ID),
    }


WRONG: list[tuple[list[Any], str]] = [
    (["x"], r"argument 'number' of task task does not fit: Expected `int`, got `str`"),
    ([1, "soon"], r"argument 'moment' of task task does not fit"),
    ([1, "2030-01-01T00:00:00", ["x"]], r"argument 'ids' of task task does not fit"),
    ([1, "2030-01-01T00:00:00", [], "x"], r"argument '#4' of task task does not fit"),
]


@pytest.mark.parametrize(("args", "said"), WRONG)
def test_an_argument_that_does_not_fit_is_named(args: list[Any], said: str) -> None:
    with pytest.raises(InvalidArguments, match=said):
        parameters(typed).converters.args(args)
    with pytest.raises(InvalidArguments, match="argument 'name' of task task does not fit"):
        parameters(typed).converters.kwargs({"name": 3})


def test_what_is_not_annotated_stays_what_it_was() -> None:
    def loose(a: int, b: int, *c: int, d: int = 0, **e: int) -> None: ...

    loose.__annotations__.clear()
    converters = parameters(loose).converters
    values: list[Any] = [1, [2], {"x": b"y"}]
    assert converters.args(values) == values
    assert converters.kwargs({"d": [1], "f": {}}) == {"d": [1], "f": {}}


def test_a_result_is_converted_too() -> None:
    def give() -> list[UUID]: ...

    assert parameters(give).result([ID]) == [UUID(ID)]
    with pytest.raises(InvalidArguments, match="the result of task does not fit its annotation"):
        parameters(give).result(["x"])
    assert parameters(plain).result(None) is None


def test_a_type_variable_is_anything() -> None:
    def same(x: T) -> T:
        return x

    assert parameters(same).converters.args([[1]]) == [[1]]


def test_a_constraint_of_pydantic_on_a_plain_type_holds() -> None:
    def positive(x: Annotated[int, pydantic.Field(gt=0)]) -> None: ...

    positive.__annotations__["x"] = Annotated[int, pydantic.Field(gt=0)]
    with pytest.raises(InvalidArguments):
        parameters(positive).converters.args([-1])


def test_what_cannot_be_hashed_may_stand_in_an_annotation() -> None:
    def noted(x: int) -> None: ...

    noted.__annotations__["x"] = Annotated[int, {"unit": "m"}]
    assert parameters(noted).converters.args([1]) == [1]


def test_a_bool_is_an_int_as_it_is_for_python_and_the_type_checker() -> None:
    assert parameters(plain).converters.args([True]) == [True]


# Annotations that cannot be read


class Unknown:
    """A type that neither msgspec nor pydantic can make."""


def test_a_type_that_nobody_knows_is_named_with_its_parameter() -> None:
    def strange(x: int, thing: Unknown) -> None: ...

    with pytest.raises(ConfigurationError, match=r"parameter 'thing' of task task has the type .*"):
        parameters(strange).compile()

    def inside(things: list[dict[str, Unknown]]) -> None: ...

    with pytest.raises(ConfigurationError, match=r"parameter 'things' of task task"):
        parameters(inside).compile()


def test_without_pydantic_its_types_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)

    def strange(thing: Unknown) -> None: ...

    with pytest.raises(ConfigurationError, match="install pydantic if it is a pydantic type"):
        parameters(strange).compile()


def test_a_name_imported_for_type_checking_only_is_one_clear_error() -> None:
    def price(amount: Decimal) -> None: ...

    with pytest.raises(
        ConfigurationError,
        match=r"annotation of tests\.core\.test_signature\..*price names 'Decimal', which does not "
        r"exist when the program runs; import it outside `if TYPE_CHECKING:`",
    ):
        parameters(price)


@pytest.mark.parametrize("text", ["missing.Name", "3 +", "SimpleNamespace().x", "int | 'a'"])
def test_an_annotation_that_cannot_be_evaluated_is_one_clear_error(text: str) -> None:
    missing = SimpleNamespace()

    def broken(x: int) -> None: ...

    broken.__globals__["missing"] = missing
    broken.__annotations__["x"] = text
    with pytest.raises(ConfigurationError, match="broken"):
        parameters(broken)
