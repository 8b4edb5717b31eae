"""Aioq: the tasks of an application, its settings, and its way to the server."""

import importlib
import inspect
from collections.abc import (
    AsyncIterable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import (
    Any,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from aioq.admin import DeadLetters
from aioq.app import environment
from aioq.app.batching import Batching
from aioq.app.composing import Composing
from aioq.app.conf import NoConf
from aioq.app.decorators import BoundDecorator, Decorator
from aioq.app.events import Signalling
from aioq.app.observing import Observing
from aioq.app.scheduling import Scheduling
from aioq.broker.client import Client
from aioq.core import options
from aioq.core.bucket import TokenBucket
from aioq.core.errors import ConfigurationError
from aioq.core.holds import limits_of
from aioq.core.options import CallOptions, TaskOptions
from aioq.core.settings import Settings
from aioq.core.unique_key import UniqueKeys
from aioq.job import Job, refuse_in_loop
from aioq.limits import Limiter, Limits, make_limiter
from aioq.producer import Prepared, Producer
from aioq.queues import Queues
from aioq.tasks import (
    AsyncTask,
    Home,
    StreamTask,
    SyncTask,
    Task,
    coroutine_function,
)

P = ParamSpec("P")
R = TypeVar("R")


Lifespan = Callable[["Aioq"], Any]
"""An async generator function, or one that returns an async context manager; gets the app."""


class Aioq(Scheduling, Batching, Composing, Observing, Signalling):
    """An application.

    Constructing it does no network I/O; connections open when they are first used, one pool per
    running event loop.

    Args:
        url: the server; see `Settings.url`.
        name: namespace of all keys; apps of different names share a server without meeting.
        include: modules whose tasks belong to this app; the worker imports them.
        settings: everything else.
        lifespan: entered once per worker process; what it yields is `ctx.state`.

    Raises:
        ConfigurationError: a setting is unknown or out of range, wherever it came from.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str = "aioq",
        include: Iterable[str] = (),
        settings: Settings | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        if not name or set(name) & set("{}: \n"):
            message = f"name={name!r} is wrong: it is a part of every key; use letters, digits, - _"
            raise ConfigurationError(message)
        self.name = name
        self.lifespan = lifespan
        self.tasks: dict[str, Task[..., Any]] = {}
        """The tasks by name."""
        self._arguments = _given(url, settings)
        self._overrides: dict[str, Any] = {}
        self._server: environment.Server | None = None
        self.settings: Settings = environment.resolve(self._arguments)
        environment.check_url(self.settings.url)
        self._client = Client(
            name,
            self._locate,
            enqueue_timeout=self.settings.enqueue_timeout,
            result_expires=self.settings.result_expires,
        )
        home = Home(Producer(self._client, self.settings), _module_names(include))
        super().__init__(home, self.tasks, self._prepare_by_name, inspect.currentframe())
        self.limits: Limits = Limits(self._client, lambda: self.source)
        """The rate and concurrency limits: set them at run time, reset or list them."""

    def __repr__(self) -> str:
        return f"<Aioq {self.name} with {len(self.tasks)} tasks>"

    @overload
    def task(  # pyright: ignore[reportOverlappingOverload] - the first match is meant
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, AsyncIterable[R]], /) -> StreamTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **given: Unpack[TaskOptions]) -> BoundDecorator: ...
    @overload
    def task(self, *, bind: Literal[False] = ..., **given: Unpack[TaskOptions]) -> Decorator: ...
    def task(
        self, function: Callable[..., Any] | None = None, *, bind: bool = False, **given: Any
    ) -> Any:
        """Register a function as a task; with or without options.

        Args:
            function: an `async def`, which runs in the event loop; with `yield` in it, what it
                yields is streamed; or a `def`, which runs in a thread.
            bind: give the function its `Context` as the first argument.
            **given: options, see the reference.

        Raises:
            ConfigurationError: an option is unknown, not served by this release, or out of range;
                or another task has the same name.
        """

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            made = make_task(function, given, bind=bind, home=self._home)
            self._register(made)
            return made

        return register if function is None else register(function)

    def include(self, *modules: str) -> None:
        """Add modules whose tasks belong to this app; the worker imports them."""
        self._home.modules.update(_module_names(modules))

    @property
    def included(self) -> frozenset[str]:
        """Names of the included modules."""
        return frozenset(self._home.modules)

    def load(self) -> None:
        """Import the included modules and take in their shared tasks, as a worker does.

        Raises:
            ImportError: a module cannot be imported; whatever it raises comes through.
        """
        for name in sorted(self._home.modules):
            module = importlib.import_module(name)
            for value in list(vars(module).values()):
                shared = isinstance(value, Task) and value.function.__module__ == name
                if shared and cast("Task[..., Any]", value).name not in self.tasks:
                    self._register(cast("Task[..., Any]", value))

    @coroutine_function
    def send_task(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **given: Unpack[CallOptions],
    ) -> Coroutine[Any, Any, Job[Any]]:
        """Make a job of a task known by name only; its code need not be here.

        The arguments are checked by the worker, unless the task is registered here too.
        """
        return self._home.producer.send(self._prepare_by_name(name, args, kwargs, given))

    def send_task_sync(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **given: Unpack[CallOptions],
    ) -> Job[Any]:
        """`send_task` from plain sync code."""
        refuse_in_loop("send_task_sync", "await app.send_task(...)")
        prepared = self._prepare_by_name(name, args, kwargs, given)
        return self._home.producer.send_sync([prepared])[0]

    def job(self, job_id: str) -> Job[Any]:
        """Return the handle of a job; no question is asked of the server."""
        return Job(job_id, self._client)

    @property
    def dead_letters(self) -> DeadLetters:
        """The jobs that have failed: list, replay or discard them."""
        return DeadLetters(self._client, timezone=self.settings.zone)

    @property
    def queues(self) -> Queues:
        """The queues: list, pause or resume them."""
        return Queues(self._client)

    def limiter(self, name: str, bucket: TokenBucket | str, *, key: object = "") -> Limiter:
        """Return a rate limit to use by itself, shared with tasks of this `rate_limit_name`.

        Args:
            name: of the limit.
            bucket: its rate; the same wherever the name is used.
            key: each key has a bucket of its own.
        """
        return make_limiter(self._client, self.limits, name, bucket, key)

    @property
    def client(self) -> Client:
        """The connections of this app; for the worker and the command line."""
        return self._client

    @property
    def server(self) -> environment.Server:
        """The server that was chosen, and why; choosing may start the development server."""
        if self._server is None:
            self._server = environment.choose(self.settings, self._arguments, self._overrides)
        return self._server

    @property
    def conf(self) -> NoConf:
        """Celery's settings object, which is not here; any use of it names the field meant."""
        return NoConf()

    @conf.setter
    def conf(self, value: object) -> NoReturn:  # noqa: ARG002 - a setter has one
        raise ConfigurationError(NoConf.explanation("conf"))

    def override(self, **flags: Any) -> None:  # noqa: ANN401 - values of any field
        """Let command-line flags win over every other source; before anything is opened."""
        self._overrides.update(flags)
        self.settings = environment.resolve({**self._arguments, **self._overrides})
        self._home.producer.settings = self.settings

    @contextmanager
    def connected_to(self, url: str) -> Generator[None]:
        """Talk to another server for a while, as `aioq.testing.running` does."""
        with self._client.elsewhere(url):
            yield

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later use opens them again."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        await self._client.broker().connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def enter_lifespan(self) -> AbstractAsyncContextManager[Any] | None:
        """Return the lifespan's context manager; None where the app has no lifespan.

        Raises:
            ConfigurationError: it is neither an async generator nor an async context manager.
        """
        if self.lifespan is None:
            return None
        if inspect.isasyncgenfunction(self.lifespan):
            from contextlib import asynccontextmanager  # noqa: PLC0415 - only where it is used

            return asynccontextmanager(self.lifespan)(self)
        manager = self.lifespan(self)
        if not isinstance(manager, AbstractAsyncContextManager):
            message = (
                f"lifespan={self.lifespan!r} must be an async generator function, or return an "
                f"async context manager; it returned {manager!r}"
            )
            raise ConfigurationError(message)
        return cast("AbstractAsyncContextManager[Any]", manager)

    def _locate(self) -> str:
        return self.server.url

    def _register(self, added: Task[..., Any]) -> None:
        known = self.tasks.get(added.name)
        if (
            known is not None
            and known.function is not added.function
            and not _reloaded(known, added)
        ):
            message = (
                f"two tasks are named {added.name!r}: {_place(known)} and {_place(added)}; "
                "give one of them name=..."
            )
            raise ConfigurationError(message)
        self._code.check(added)
        self.limits.add(limits_of(added.definition), owner=f"task {added.name}")
        self.tasks[added.name] = added

    def _prepare_by_name(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        given: CallOptions,
    ) -> Prepared:
        call = options.call(cast("dict[str, Any]", given), where=f"send_task({name!r})")
        known = self.tasks.get(name)
        if known is not None:
            return known.prepare(tuple(args), dict(kwargs or {}), call)
        definition = self._home.settle({"name": name}, {}, where=f"send_task({name!r})")
        unique = definition.unique if call.unique is None else call.unique
        word = UniqueKeys(name, None).word(unique, args, kwargs or {}) if unique else ""
        return self._home.producer.prepare(
            definition, tuple(args), dict(kwargs or {}), call, lambda value: value, word
        )


@overload
def task(  # pyright: ignore[reportOverlappingOverload] - the first match is meant
    function: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncTask[P, R]: ...
@overload
def task(function: Callable[P, AsyncIterable[R]], /) -> StreamTask[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> SyncTask[P, R]: ...
@overload
def task(*, bind: Literal[True], **given: Unpack[TaskOptions]) -> BoundDecorator: ...
@overload
def task(*, bind: Literal[False] = ..., **given: Unpack[TaskOptions]) -> Decorator: ...
def task(function: Callable[..., Any] | None = None, /, *, bind: bool = False, **given: Any) -> Any:
    """Make a task that belongs to whichever app includes its module; Celery's `shared_task`."""

    def register(function: Callable[..., Any]) -> Task[..., Any]:
        return make_task(function, given, bind=bind, home=None)

    return register if function is None else register(function)


def make_task(
    function: Callable[..., Any], given: Mapping[str, Any], *, bind: bool, home: Home | None
) -> Task[..., Any]:
    """Make the right kind of task for a function."""
    if inspect.isasyncgenfunction(function):
        return StreamTask[..., Any](function, given, bind=bind, home=home)
    kind = AsyncTask[..., Any] if inspect.iscoroutinefunction(function) else SyncTask[..., Any]
    return kind(function, given, bind=bind, home=home)


def _given(url: str | None, settings: Settings | None) -> dict[str, Any]:
    given = {} if settings is None else {n: getattr(settings, n) for n in settings.given}
    if url is not None:
        if "url" in given:
            message = f"the URL is given twice: {url!r} and Settings(url={given['url']!r})"
            raise ConfigurationError(message)
        given["url"] = url
    return given


def _module_names(modules: Iterable[str]) -> list[str]:
    if isinstance(modules, str):
        message = f"include takes a list of modules: include=[{modules!r}]"
        raise ConfigurationError(message)
    return list(modules)


def _reloaded(known: Task[..., Any], added: Task[..., Any]) -> bool:
    """Tell whether this is the same function again, after its module was reloaded."""
    before, after = known.function, added.function
    return (before.__module__, before.__qualname__) == (after.__module__, after.__qualname__)


def _place(task: Task[..., Any]) -> str:
    code = inspect.unwrap(task.function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
