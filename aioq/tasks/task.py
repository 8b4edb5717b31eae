"""A registered function.

`Task` stands where the function stood: calling it runs the function here and now, `enqueue`
makes a job of the same call.
"""

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, Unpack, cast

from aioq.context import Context, local_context
from aioq.core import options
from aioq.core.errors import ConfigurationError
from aioq.core.holds import Holds, holds_of
from aioq.core.options import Call, CallOptions, TaskDefinition
from aioq.core.signature import Parameters
from aioq.core.unique_key import UniqueKeys
from aioq.job import Job, refuse_in_loop
from aioq.producer import Prepared
from aioq.tasks.composing import options_of, workflow
from aioq.tasks.home import Home, find_home
from aioq.tasks.marking import coroutine_function
from aioq.tasks.signature import Signature

if TYPE_CHECKING:
    import aioq.workflow

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """What `@app.task` returns.  `P` are the arguments to enqueue, `R` is what a run returns."""

    def __init__(
        self,
        function: Callable[..., Any],
        given: Mapping[str, Any],
        *,
        bind: bool = False,
        home: Home | None = None,
    ) -> None:
        _require_plain(function)
        self.function = function
        self.bind = bind
        self.streams: bool = inspect.isasyncgenfunction(function)
        self.is_async: bool = self.streams or inspect.iscoroutinefunction(function)
        self.name: str = given.get("name") or default_name(function)
        self._given = {**given, "name": self.name}
        self._default = {"executor": "loop" if self.is_async else "thread"}
        self._home = home
        self.call: Call = options.NO_OPTIONS
        """The options of the calls made through this object."""
        self.__name__: str = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        if home is None:
            options.define({**self._default, **self._given}, where=self._where)
        else:
            _ = self.definition

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - see the subclasses
        """Run the function here and now."""
        return self._call_here(args, kwargs)

    @cached_property
    def definition(self) -> TaskDefinition:
        """The settled options.

        Raises:
            ConfigurationError: a shared task of which no app is known yet.
        """
        settled = self.home.settle(self._given, self._default, where=self._where)
        self._refuse_executor(settled.executor)
        return settled

    @cached_property
    def parameters(self) -> Parameters:
        """What the task accepts and returns."""
        return Parameters(self.function, task=self.name, injected=Context, bind=self.bind)

    @property
    def convert(self) -> Callable[[Any], Any]:
        """How its handles convert a plain result."""
        return self.parameters.result

    @cached_property
    def holds(self) -> Holds | None:
        """Under which limits its jobs start; None where there are none."""
        return holds_of(self.definition, self.parameters.signature)

    @cached_property
    def unique_keys(self) -> UniqueKeys:
        """What its unique jobs are known by."""
        return UniqueKeys(self.name, self.parameters.signature)

    @property
    def home(self) -> Home:
        """What the task needs of its app."""
        if self._home is None:
            self._home = find_home(self.name, self.function.__module__)
        return self._home

    def options(self, **given: Unpack[CallOptions]) -> Self:
        """Return this task with options for the calls made through it.

        Args:
            **given: `countdown` (seconds) or `eta` (aware datetime): not before; `expires`
                (seconds or aware datetime): not after; `queue`; `priority` 0-9; `job_id`: while
                a job with this id is known, it is returned in place of a new one; `headers`;
                `unique`: True, a `Unique`, or False for a call that is not.

        Raises:
            ConfigurationError: an option is unknown, out of range, or contradicts another.
        """
        changed = Task.__new__(type(self))
        changed.__dict__.update(self.__dict__)
        merged = {**options_of(self.call), **given}
        changed.call = options.call(merged, where=f"{self.name}.options")
        return changed

    @coroutine_function
    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Job[R]]:
        """Make a job of this call, in one round trip.

        Once awaited, the job is never lost.  Sent again after a lost reply, it is still one job.

        Raises:
            TypeError: the arguments do not fit the signature; nothing was sent.
            InvalidArguments: an argument cannot be serialised; nothing was sent.
            PayloadTooLarge: see `Settings.max_payload`; nothing was sent.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
            BrokerFull: the server is full.
            NotUnique: another job has its unique key, and `on_conflict` is "reject".
        """
        caller = cast(
            "FrameType", inspect.currentframe()
        ).f_back  # names the line, should nobody await
        sending = self.home.producer.send(self.prepare(args, kwargs, self.call))
        # Should nobody await it, Python warns "coroutine '<this name>' was never awaited".
        sending.__qualname__ = f"{self.name}.enqueue(), called at {_line(caller)},"
        return sending

    delay = enqueue

    @coroutine_function
    def apply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **given: Unpack[CallOptions],
    ) -> Coroutine[Any, Any, Job[R]]:
        """Celery's spelling of `options(...).enqueue(...)`."""
        changed = self.options(**given) if given else self
        return changed.home.producer.send(
            changed.prepare(tuple(args), dict(kwargs or {}), changed.call)
        )

    @coroutine_function
    def enqueue_many(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]
    ) -> Coroutine[Any, Any, list[Job[R]]]:
        """Make a job of each call, at most 250 per round trip.

        Args:
            calls: a tuple of positional arguments for each job, or a mapping of keywords.

        Raises:
            BrokerUnavailable: its attribute `jobs` has those already made.
        """
        return self.home.producer.send_many(self._prepare_many(calls))

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`enqueue` from plain sync code; it blocks the thread for one round trip.

        Raises:
            ConfigurationError: an event loop is running here.
        """
        refuse_in_loop("enqueue_sync", f"await {self.__name__}.enqueue(...)")
        return self.home.producer.send_sync([self.prepare(args, kwargs, self.call)])[0]

    def enqueue_many_sync(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]
    ) -> list[Job[R]]:
        """`enqueue_many` from plain sync code."""
        refuse_in_loop("enqueue_many_sync", f"await {self.__name__}.enqueue_many(...)")
        return self.home.producer.send_sync(self._prepare_many(calls))

    def job(self, job_id: str) -> Job[R]:
        """Return the handle of a job of this task; no question is asked of the server."""
        return Job(job_id, self.home.producer.client, convert=self.convert)

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:  # noqa: ANN401 - may be partial
        """Return a signature: this call, not sent yet.

        In a workflow the result of what comes before it is prepended to its arguments.
        """
        return Signature(self, args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """Return an immutable signature: in a workflow no result is prepended."""
        return Signature(self, args, kwargs, immutable=True)

    def map(self, items: Iterable[Any]) -> Signature[list[R]]:
        """Return one call for many items: its job calls the function with each, in order.

        Its result is the list of theirs.  It is one job: it is tried again, revoked and limited as
        a whole.  In a workflow the result before it comes first in each call.
        """
        return Signature(self, (_listed(f"{self.name}.map", items),), {}, mapped=1)

    def starmap(self, items: Iterable[Iterable[Any]]) -> Signature[list[R]]:
        """Return one call for many items, as `map` does, each the arguments of one call."""
        where = f"{self.name}.starmap"
        every = [tuple(_listed(where, item)) for item in _listed(where, items)]
        return Signature(self, (every,), {}, mapped=2)

    def chunks(self, items: Iterable[Iterable[Any]], n: int) -> "aioq.workflow.Group[list[R]]":
        """Return a group of jobs that call the function for `n` items each, as `starmap` does.

        Its result is a list of lists.
        """
        every = _listed(f"{self.name}.chunks", items)
        if not isinstance(n, int) or n < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            message = f"{self.name}.chunks(..., {n!r}): a chunk has at least one item"
            raise ValueError(message)
        parts = (every[start : start + n] for start in range(0, len(every), n))
        return workflow().group(self.starmap(part) for part in parts)

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call) -> Prepared:
        """Check and encode one call; see `enqueue` for what it raises."""
        parameters = self.parameters
        parameters.check(args, kwargs)
        holds = self.holds.of(args, kwargs) if self.holds else ""
        unique = self.definition.unique if call.unique is None else call.unique
        if unique:
            holds = f"{self.unique_keys.word(unique, args, kwargs)} {holds}".rstrip()
        producer = self.home.producer
        return producer.prepare(self.definition, args, kwargs, call, self.convert, holds)

    def _prepare_many(self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> list[Prepared]:
        if self.call.job_id is not None:
            message = f"{self.name}.enqueue_many: one job_id cannot be given to many jobs"
            raise ConfigurationError(message)
        prepared: list[Prepared] = []
        for arguments in calls:
            if isinstance(arguments, Mapping):
                prepared.append(self.prepare((), dict(arguments), self.call))
            elif isinstance(arguments, (tuple, list)):  # pyright: ignore[reportUnnecessaryIsInstance]
                prepared.append(self.prepare(tuple(arguments), {}, self.call))
            else:
                message = (
                    f"{self.name}.enqueue_many takes a tuple of arguments for each job, such as "
                    f"[(1,), (2,)]; {arguments!r} is none"
                )
                raise TypeError(message)
        return prepared

    def _call_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - R
        """Call the function as a worker would, with a context where it wants one."""
        if not self.bind and not self.parameters.injected:
            return self.function(*args, **kwargs)
        context = local_context(self.name, self._given.get("queue") or "")
        positional = [context, *args] if self.bind else list(args)
        self.parameters.inject(positional, kwargs, context)
        return self.function(*positional, **kwargs)

    @property
    def _where(self) -> str:
        return f"task {self.name}"

    def _refuse_executor(self, executor: str) -> None:
        if self.is_async and executor == "thread":
            message = (
                f"task {self.name} is an async def, which runs in the event loop; "
                'executor="thread" is for def tasks, executor="process" for CPU work'
            )
            raise ConfigurationError(message)
        if not self.is_async and executor == "loop":
            message = (
                f"task {self.name} is a plain def, which would block the event loop; leave out "
                'executor="loop", or make it an async def'
            )
            raise ConfigurationError(message)


class AsyncTask(Task[P, R]):
    """A task made from an `async def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Return the function's coroutine: awaiting it runs it here and now."""
        return self._call_here(args, kwargs)


class SyncTask(Task[P, R]):
    """A task made from a plain `def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        return self._call_here(args, kwargs)


def default_name(function: Callable[..., Any]) -> str:
    """Return `module.qualname`; for `__main__` the file's stem stands for the module."""
    module = function.__module__
    if module in {"__main__", "__mp_main__"}:
        module = Path(inspect.getfile(function)).stem
    return f"{module}.{function.__qualname__}"


def _listed(where: str, items: object) -> list[Any]:
    if isinstance(items, Iterable):
        return [*cast("Iterable[Any]", items)]
    how = ", each a list of the arguments of one call" if "starmap" in where else ""
    raise TypeError(f"{where} takes a list of items{how}; {items!r} is none")


def _line(frame: FrameType | None) -> str:
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _require_plain(function: object) -> None:
    if isinstance(function, Task):
        message = f"{function.name} is a task already; one function makes one task"
        raise ConfigurationError(message)
    if not callable(function) or isinstance(function, (type, staticmethod, classmethod)):
        message = f"@task decorates functions, not {function!r}"
        raise ConfigurationError(message)
    if inspect.isgeneratorfunction(function):
        message = (
            f"{function.__qualname__} is a plain generator, which would block the event loop; a "
            "task that streams is an async def with yield"
        )
        raise ConfigurationError(message)
