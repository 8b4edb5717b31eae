"""`@app.batch_task`: one call of the function takes many jobs."""

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar, Unpack, overload

from aioq.core.options import TaskOptions
from aioq.tasks import (
    AsyncBatchTask,
    BatchContext,
    BatchTask,
    Collecting,
    Home,
    SyncBatchTask,
    Task,
)

T = TypeVar("T")
R = TypeVar("R")


class BatchDecorator(Protocol):
    """`@app.batch_task(...)`: takes a function of a list, gives a task of one item."""

    @overload
    def __call__(
        self,
        function: Callable[[list[T]], Coroutine[Any, Any, Sequence[R | Exception | BaseException]]],
        /,
    ) -> AsyncBatchTask[T, R]: ...
    @overload
    def __call__(
        self, function: Callable[[list[T]], Sequence[R | Exception | BaseException]], /
    ) -> SyncBatchTask[T, R]: ...


class BoundBatchDecorator(Protocol):
    """`@app.batch_task(bind=True, ...)`: the context comes before the list."""

    @overload
    def __call__(
        self,
        function: Callable[
            [BatchContext, list[T]], Coroutine[Any, Any, Sequence[R | Exception | BaseException]]
        ],
        /,
    ) -> AsyncBatchTask[T, R]: ...
    @overload
    def __call__(
        self,
        function: Callable[[BatchContext, list[T]], Sequence[R | Exception | BaseException]],
        /,
    ) -> SyncBatchTask[T, R]: ...


class Batching:
    """The part of an app that makes batch tasks."""

    _home: Home

    @overload
    def batch_task(
        self,
        *,
        size: int = ...,
        wait: float = ...,
        bind: Literal[True],
        **given: Unpack[TaskOptions],
    ) -> BoundBatchDecorator: ...
    @overload
    def batch_task(
        self,
        *,
        size: int = ...,
        wait: float = ...,
        bind: Literal[False] = ...,
        **given: Unpack[TaskOptions],
    ) -> BatchDecorator: ...
    def batch_task(
        self, *, size: int = 100, wait: float = 0.5, bind: bool = False, **given: Any
    ) -> Any:
        """Register a function that takes the items of many jobs, and returns a list of as many.

        Args:
            size: so many jobs are called at once, 1 to 1000,
            wait: or as many as have come so many seconds after the first one.
            bind: give the function its `BatchContext` before the list.
            **given: options, as those of `task`; each job has them by itself.

        Raises:
            ConfigurationError: an option is unknown, not served by this release, or out of range;
                or another task has the same name.
        """
        collecting = Collecting(size, wait)

        def register(function: Callable[..., Any]) -> BatchTask[Any, Any]:
            made = make_batch_task(function, given, collecting, bind=bind, home=self._home)
            self._register(made)
            return made

        return register

    def _register(self, added: Task[..., Any]) -> None:
        raise NotImplementedError


@overload
def batch_task(
    *, size: int = ..., wait: float = ..., bind: Literal[True], **given: Unpack[TaskOptions]
) -> BoundBatchDecorator: ...
@overload
def batch_task(
    *, size: int = ..., wait: float = ..., bind: Literal[False] = ..., **given: Unpack[TaskOptions]
) -> BatchDecorator: ...
def batch_task(*, size: int = 100, wait: float = 0.5, bind: bool = False, **given: Any) -> Any:
    """Make a batch task that belongs to whichever app includes its module, as `task` does."""
    collecting = Collecting(size, wait)

    def register(function: Callable[..., Any]) -> BatchTask[Any, Any]:
        return make_batch_task(function, given, collecting, bind=bind, home=None)

    return register


def make_batch_task(
    function: Callable[..., Any],
    given: Mapping[str, Any],
    collecting: Collecting,
    *,
    bind: bool,
    home: Home | None,
) -> BatchTask[Any, Any]:
    """Make the right kind of batch task for a function."""
    is_async = inspect.iscoroutinefunction(function)
    kind = AsyncBatchTask[Any, Any] if is_async else SyncBatchTask[Any, Any]
    return kind(function, given, collecting=collecting, bind=bind, home=home)
