"""A task that streams: an async generator function, whose items reach readers as it yields them."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack

from aioq.core.errors import ConfigurationError
from aioq.core.options import CallOptions
from aioq.job import Items, StreamJob
from aioq.tasks.task import Task

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")

Making = Coroutine[Any, Any, V]


class StreamTask(Task[P, None], Generic[P, T]):
    """A task made from an `async def` with `yield`; `T` are its items, and its result is None."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        """Return the function's async generator: iterating it runs it here and now."""
        return self._call_here(args, kwargs)

    @property
    def convert(self) -> Callable[[Any], Any]:
        """How its handles convert what it streams."""
        return Items(self.parameters.item)

    def job(self, job_id: str) -> StreamJob[T]:
        """Return the handle of a job of this task; no question is asked of the server."""
        return StreamJob(job_id, self.home.producer.client, convert=self.convert)

    def map(self, items: Iterable[Any]) -> NoReturn:
        """Refuse: each job streams the items of one call.

        Raises:
            ConfigurationError: always.
        """
        del items
        message = (
            f"task {self.name} streams, and the items of many calls would be one stream; use "
            f"{self.__name__}.enqueue_many([(item,), ...]), whose jobs have a stream each"
        )
        raise ConfigurationError(message)

    def starmap(self, items: Iterable[Iterable[Any]]) -> NoReturn:
        """Refuse, as `map` does."""
        self.map(items)

    if TYPE_CHECKING:  # they are those of Task, whose handles stream where the task does

        def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Making[StreamJob[T]]:
            """Make a job of this call."""
            ...

        def delay(self, *args: P.args, **kwargs: P.kwargs) -> Making[StreamJob[T]]:
            """Celery's spelling of `enqueue`."""
            ...

        def apply_async(
            self,
            args: Iterable[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            **given: Unpack[CallOptions],
        ) -> Making[StreamJob[T]]:
            """Celery's spelling of `options(...).enqueue(...)`."""
            ...

        def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> StreamJob[T]:
            """`enqueue` from plain sync code."""
            ...

        def enqueue_many(  # pyright: ignore[reportIncompatibleMethodOverride] - lists are invariant
            self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]
        ) -> Making[list[StreamJob[T]]]:
            """Make a job of each call."""
            ...

        def enqueue_many_sync(  # pyright: ignore[reportIncompatibleMethodOverride] - as above
            self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]
        ) -> list[StreamJob[T]]:
            """`enqueue_many` from plain sync code."""
            ...

    def _refuse_executor(self, executor: str) -> None:
        if executor != "loop":
            message = (
                f"task {self.name} is an async generator, which runs in the event loop: its items "
                f'cannot come out of executor="{executor}"; leave the option out'
            )
            raise ConfigurationError(message)
