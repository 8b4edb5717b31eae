"""A task whose function takes many jobs at once.

Each job has one item, and a life of its own: options, limits, retries, a result.  Only the
function is shared: a worker collects jobs, and calls it with the list of their items.
"""

import asyncio
import inspect
import types
import typing
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import (
    Annotated,
    Any,
    Generic,
    NamedTuple,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import msgspec
from msgspec import Meta

from aioq.context import Context, local_context
from aioq.core.errors import ConfigurationError
from aioq.core.signature import Parameters
from aioq.tasks.home import Home
from aioq.tasks.task import Task

T = TypeVar("T")
R = TypeVar("R")

MOST = 1000
"""Jobs that one call may take."""
LONGEST = 3600
"""Seconds for which the first job of a batch may wait for others."""
Size = Annotated[int, Meta(ge=1, le=MOST)]
Wait = Annotated[float, Meta(ge=0, le=LONGEST)]
_LISTS = (list, tuple, Sequence, Collection, Iterable)


class Collecting(NamedTuple):
    """How the jobs of a task are collected."""

    size: int
    """So many of them are called at once,"""
    wait: float
    """or as many as have come so many seconds after the first one."""


@dataclass(slots=True, kw_only=True, eq=False)
class BatchContext(Context):
    """What a batch task may know and ask: its request and headers are those of its first job."""

    jobs: tuple[Context, ...] = ()
    """A context for each item, in their order."""

    async def progress(
        self,
        current: float | None = None,
        total: float | None = None,
        message: str | None = None,
        **meta: Any,  # noqa: ANN401 - whatever MessagePack can hold
    ) -> None:
        """Report how far all jobs of the batch have come; `jobs[i].progress` is for one alone."""
        reports = [job.progress(current, total, message, **meta) for job in self.jobs]
        await asyncio.gather(*reports)

    def _way(self, method: str) -> NoReturn:
        """Refuse what belongs to one job."""
        message = (
            f"ctx.{method} belongs to one job, and a batch task runs many: ctx.jobs[0].step(...) "
            "is a step of the first one; waiting outside of the worker needs a task of its own"
        )
        raise ConfigurationError(message)


class BatchTask(Task[[T], R], Generic[T, R]):
    """What `@app.batch_task` returns.  `T` is one item to enqueue, `R` what becomes of it."""

    def __init__(
        self,
        function: Callable[..., Any],
        given: Mapping[str, Any],
        *,
        collecting: Collecting,
        bind: bool = False,
        home: Home | None = None,
    ) -> None:
        self.collecting = collecting
        self._binds = bind
        super().__init__(function, given, home=home)
        _check(collecting, where=self._where)
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            message = f"{self._where} is a generator; a batch task returns a list"
            raise ConfigurationError(message)

    @cached_property
    def parameters(self) -> Parameters:
        """What one job accepts and returns: an item of the function's list, and its result.

        Raises:
            ConfigurationError: the function does not take one list, or does not return one.
        """
        found = list(self._whole.signature.parameters.values())
        positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        if len(found) != 1 or found[0].kind not in positional:
            message = (
                f"{self._where} takes {self._whole.signature}; a batch task takes one list, such "
                "as (items: list[Item]), and a context if it wants one"
            )
            raise ConfigurationError(message)
        hints = typing.get_type_hints(self.function, include_extras=True)

        def one(item: object, /) -> object: ...

        one.__module__, one.__qualname__ = self.__module__, self.__qualname__
        name = found[0].name
        one.__annotations__ = {
            "item": self._item(hints.get(name, Any), f"its parameter {name!r}"),
            "return": _without_errors(self._item(hints.get("return", Any), "its return value")),
        }
        return Parameters(one, task=self.name, injected=Context, bind=False)

    @cached_property
    def _whole(self) -> Parameters:
        """What the function accepts and returns."""
        return Parameters(self.function, task=self.name, injected=Context, bind=self._binds)

    def map(self, items: Iterable[Any]) -> NoReturn:
        """Refuse: a job of a batch task has one item.

        Raises:
            ConfigurationError: always.
        """
        del items
        message = (
            f"{self._where}: a job of a batch task has one item, and cannot be one call for many; "
            f"use {self.__name__}.enqueue_many([(item,), ...]), or in a workflow "
            f"group({self.__name__}.s(item) for item in items)"
        )
        raise ConfigurationError(message)

    def starmap(self, items: Iterable[Iterable[Any]]) -> NoReturn:
        """Refuse, as `map` does."""
        self.map(items)

    def arguments(
        self, items: list[Any], context: BatchContext
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return what to call the function with."""
        args: list[Any] = [context, items] if self._binds else [items]
        kwargs: dict[str, Any] = {}
        if self._whole.injected:
            self._whole.inject(args, kwargs, context)
        return args, kwargs

    def _call_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - R
        """Call the function as a worker would, with a context where it wants one."""
        if kwargs or not (self._binds or self._whole.injected):
            return self.function(*args, **kwargs)
        items = args[0]
        outer = local_context(self.name, self._given.get("queue") or "")
        context = BatchContext(
            request=outer.request,
            task_name=self.name,
            queue=outer.queue,
            state=outer.state,
            jobs=tuple(outer for _ in items),
        )
        positional, named = self.arguments(items, context)
        return self.function(*positional, **named)

    def _item(self, annotation: Any, what: str) -> Any:  # noqa: ANN401 - any annotation
        """Return the type of the items of a list."""
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
        if origin is Any or (origin in _LISTS and not arguments):
            return Any
        is_list = origin in _LISTS and (origin is not tuple or arguments[1:] == (...,))
        if not is_list:
            shown = getattr(annotation, "__name__", annotation)
            message = (
                f"{self._where}: {what} is annotated {shown}; a batch task takes a list and "
                "returns one, with a result for each item: "
                "async def index(items: list[Item]) -> list[Result]"
            )
            raise ConfigurationError(message)
        return arguments[0]

    def _refuse_executor(self, executor: str) -> None:
        if executor == "process":
            message = (
                f'{self._where}: executor="process" is not for batch tasks, which run in the event '
                "loop (async def) or in a thread (def); leave it out"
            )
            raise ConfigurationError(message)
        super()._refuse_executor(executor)


class AsyncBatchTask(BatchTask[T, R]):
    """A batch task made from an `async def`."""

    def __call__(self, items: list[T]) -> Coroutine[Any, Any, list[R]]:
        """Return the function's coroutine: awaiting it runs it here and now."""
        return self._call_here((items,), {})


class SyncBatchTask(BatchTask[T, R]):
    """A batch task made from a plain `def`."""

    def __call__(self, items: list[T]) -> list[R]:
        """Run the function here and now."""
        return self._call_here((items,), {})


def _check(collecting: Collecting, *, where: str) -> None:
    # What the annotations promise is checked here.
    try:
        msgspec.convert(collecting.size, Size)
    except msgspec.ValidationError:
        message = (
            f"{where}: size={collecting.size!r} is wrong: it is a whole number from 1 to {MOST}"
        )
        raise ConfigurationError(message) from None
    try:
        msgspec.convert(collecting.wait, Wait)
    except msgspec.ValidationError:
        message = (
            f"{where}: wait={collecting.wait!r} is wrong: it is a number of seconds from 0 to "
            f"{LONGEST:g}"
        )
        raise ConfigurationError(message) from None


def _without_errors(annotation: Any) -> Any:  # noqa: ANN401 - any annotation
    """Take the exceptions out of a union: a job whose result is one has failed."""
    if get_origin(annotation) not in {Union, types.UnionType}:
        return annotation
    among: tuple[Any, ...] = get_args(annotation)
    values = [each for each in among if not _is_error(each)]
    return Union[tuple(values)] if values else Any  # noqa: UP007 - made at run time


def _is_error(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)
