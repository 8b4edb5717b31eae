"""What `@app.task(...)` with options makes of a function, for type checkers."""

from collections.abc import AsyncIterable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from aioq.context import Context
from aioq.tasks import AsyncTask, StreamTask, SyncTask

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """`@app.task(...)`: takes a function, gives a task of the same signature."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload] - the first match is meant
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, AsyncIterable[R]], /) -> StreamTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...


class BoundDecorator(Protocol):
    """`@app.task(bind=True, ...)`: the context, first, is no part of the task's signature."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload] - the first match is meant
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], AsyncIterable[R]], /
    ) -> StreamTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> SyncTask[P, R]: ...
