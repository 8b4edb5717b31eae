"""Durable tasks: steps that run once, and waits that keep no worker.

What a job has done stands in its memo on the server.  A wait raises `Suspend`, which ends the
delivery; when it is over the task starts again at its first line, and whatever is done already is
answered from the memo.  So all that is outside of a step runs again, in the same order.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from aioq.core import codec
from aioq.core.clock import milliseconds
from aioq.core.errors import ConfigurationError
from aioq.core.retry import seconds_of
from aioq.core.signature import Parameters
from aioq.durable.children import Child, Children
from aioq.durable.memo import Memo, Way, check_event, check_name

P = ParamSpec("P")
R = TypeVar("R")

_in_step: ContextVar[str] = ContextVar("aioq_step")
"""The step that runs here."""


class Durable:
    """What makes a task durable; a part of `Context`."""

    __slots__ = ()

    if TYPE_CHECKING:  # what it needs of Context
        _app: Any
        _link: Any
        job_id: Any
        task_name: str

    @overload
    def step(
        self, name: str, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def step(
        self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    def step(
        self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """Call a function once in the life of the job, and note what it returns.

        A later run of the job is given the noted value.  Between the end of the function and the
        note its worker may die, so it runs at least once; an error is not noted.  A `def` runs in a
        thread.

        Args:
            name: of the step; the job has no other of this name.
            function: what to call; it returns what MessagePack can hold, and its annotation says
                as what that is given back.
            *args: for the function.
            **kwargs: for the function.

        Raises:
            NonDeterministic: an earlier run used the name for something else.
            PayloadTooLarge: the steps of the job take more than `Settings.max_payload` in sum.
        """
        way = self._way("step")
        check_name("the step", name)
        return self._step(way, name, function, args, kwargs)

    def sleep(self, seconds: float, *, name: str | None = None) -> Coroutine[Any, Any, None]:
        """Wait outside of the worker, by the server's clock.

        Args:
            seconds: from the first time that the job came here.
            name: of the sleep; default: its place among the sleeps of the job.
        """
        way = self._way("sleep")
        if name is not None:
            check_name("the sleep", name)
        return self._sleep(way, seconds_of(seconds, "sleep"), name)

    def wait_event(
        self, event: str, timeout: float | None = None, *, name: str | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Wait for `app.send_event(event, ...)` outside of the worker; return its value.

        It may have been sent before the job came here, but not before the job was enqueued.

        Args:
            event: its name.
            timeout: seconds from the first time that the job came here; None: as long as it takes.
            name: of the wait; a second wait for the same event needs one, and gets a later event.

        Raises:
            TimeoutError: it did not come in time.  Every later run is told so too.
        """
        way = self._way("wait_event")
        check_event(event)
        if name is not None:
            check_name("the wait", name)
        limit = None if timeout is None else seconds_of(timeout, "timeout")
        return self._wait_event(way, event, limit, name or f"event {event}")

    def group(self) -> "Children":
        """Start children, which are jobs of their own.

        `async with ctx.group() as g: child = g.start(task.s(1))`, and then `await ctx.wait(child)`.
        """
        way = self._way("group")
        return Children(way, lambda: self._memo(way))

    @overload
    def wait(self, child: "Child[R]", /) -> Coroutine[Any, Any, R]: ...
    @overload
    def wait(self, children: "Sequence[Child[R]]", /) -> Coroutine[Any, Any, list[R]]: ...
    @overload
    def wait(self, group: "Children", /) -> Coroutine[Any, Any, list[Any]]: ...
    @overload
    def wait(
        self, child: "Child[Any]", other: "Child[Any]", /, *more: "Child[Any]"
    ) -> Coroutine[Any, Any, list[Any]]: ...
    def wait(
        self, *awaited: "Child[Any] | Sequence[Child[Any]] | Children"
    ) -> Coroutine[Any, Any, Any]:
        """Wait outside of the worker for children to end; return the result, or a list of them.

        Args:
            *awaited: one child, whose result is returned; or several, a list of them, or a group,
                which stands for all that it has started: a list is returned then.

        Raises:
            TaskFailed: a child has failed; the first one's error, when all have ended.
            Revoked: a child was revoked.
        """
        return self._wait(self._way("wait"), awaited)

    async def _step(
        self,
        way: Way,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401 - R
        if not self.job_id:
            return _read(name, _written(name, await _run(name, function, args, kwargs)), function)
        memo = await self._memo(way)
        entry = memo.ask(name, "s")
        if entry is None:
            end = memo.begin_step()
            try:
                value = _written(name, await _run(name, function, args, kwargs))
                entry = memo.note(name, await way.note(name, "s", value, self._most))
            finally:
                end()
        return _read(name, entry[1:], function)

    async def _sleep(self, way: Way, seconds: float, name: str | None) -> None:
        if not self.job_id:
            await asyncio.sleep(seconds)
            return
        memo = await self._memo(way)
        name = name or memo.next_sleep()
        entry = memo.ask(name, "z")
        if entry is None:
            value = str(milliseconds(seconds)).encode()
            entry = memo.note(name, await way.note(name, "z", value, self._most))
        due_ms = int(entry[1:])
        if due_ms > memo.now_ms:
            await memo.suspend(due_ms=due_ms)

    async def _wait_event(self, way: Way, event: str, timeout: float | None, name: str) -> Any:  # noqa: ANN401 - what was sent
        memo = await self._memo(way)
        entry = memo.ask(name, "eET")
        if entry is not None:
            _check_same(memo, name, event, entry)
        if entry is None or entry[0] == ord("e"):
            entry = memo.note(name, await way.hear(name, event, timeout))
        kind, rest = chr(entry[0]), entry[1:]
        if kind == "E":
            return codec.decode_value(rest.partition(b" ")[2])
        if kind == "e":
            deadline = rest.partition(b" ")[0]
            await memo.suspend(due_ms=int(deadline) if deadline else None, wait=name)
        message = f"the event {event!r} did not come in time"
        raise TimeoutError(message)

    async def _wait(
        self, way: Way, awaited: tuple["Child[Any] | Sequence[Child[Any]] | Children", ...]
    ) -> Any:  # noqa: ANN401 - R
        memo = await self._memo(way)
        children: list[Child[Any]] = []
        for each in awaited:
            children += each.children if isinstance(each, Children) else _listed(each)
        for group in {child.group for child in children}:
            await group.send()
        missing = tuple(child.name for child in children if child.goes_on(memo))
        if missing:
            await memo.suspend(children=missing)
        large = [child.name for child in children if child.is_large(memo)]
        values = await way.results([name.rpartition(" ")[2] for name in large]) if large else []
        memo.results.update(zip(large, values, strict=True))
        results = [child.result(memo) for child in children]
        return results[0] if len(awaited) == 1 and isinstance(awaited[0], Child) else results

    def _way(self, method: str) -> Way:
        if self._link is None:
            raise ConfigurationError(_ASYNC_ONLY.format(method))
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(_ASYNC_ONLY.format(method)) from None
        step = _in_step.get("")
        if step:
            message = (
                f"ctx.{method} is called inside the step {step!r}; a step has no parts and does "
                "not wait: take it apart"
            )
            raise ConfigurationError(message)
        return self._link

    @property
    def _most(self) -> int:
        """Bytes that the steps may take in sum."""
        return self._app.settings.max_payload

    async def _memo(self, way: Way) -> Memo:
        if way.memo is None:
            read = await way.recall()
            if way.memo is None:  # another branch of the task may have been faster
                way.memo = Memo(self.job_id, self.task_name, read)
        return way.memo


_ASYNC_ONLY = (
    "ctx.{} is for async def tasks, which run in the event loop; a def task, or one with "
    'executor="process", cannot be suspended: do the work in it, and wait in an async def task'
)


def _listed(given: "Child[Any] | Sequence[Child[Any]]") -> "Sequence[Child[Any]]":
    """Return the children that were given.

    Raises:
        TypeError: they are none.
    """
    if isinstance(given, Child):
        return [given]
    items = cast("object", given)  # what its annotation promises is checked here
    if isinstance(items, (list, tuple)) and not [x for x in given if type(x) is not Child]:
        return given
    message = f"ctx.wait takes what g.start has returned, not {given!r}"
    raise TypeError(message)


def _check_same(memo: Memo, name: str, event: str, entry: bytes) -> None:
    """Refuse a wait that was for another event before."""
    words = entry[1:].split(b" ", 2)
    known = words[1] if entry[0] == ord("e") else words[0]
    if known != event.encode():
        how = f"{name!r} waited for {known.decode()!r} before, now for {event!r}"
        raise memo.differs(how)


async def _run(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:  # noqa: ANN401 - R
    """Call the function of a step."""
    token = _in_step.set(name)
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        value = await asyncio.to_thread(function, *args, **kwargs)
        return await value if inspect.isawaitable(value) else value
    finally:
        _in_step.reset(token)


def _written(name: str, value: object) -> bytes:
    try:
        return codec.encode_value(value)
    except (TypeError, OverflowError, ValueError, RecursionError) as error:
        kind = type(value).__qualname__
        message = (
            f"the step {name!r} returned a value of type {kind} that cannot be serialised: "
            f"{error}; return plain values"
        )
        raise TypeError(message) from None


class _Nothing:
    """What no parameter is."""


def _read(name: str, value: bytes, function: Callable[..., Any]) -> Any:  # noqa: ANN401 - R
    """Return the noted value, as what the function's annotation says: the same in every run."""
    plain = codec.decode_value(value)
    if plain is None or isinstance(function, functools.partial):
        return plain
    parameters: Parameters | None = getattr(function, "parameters", None)  # a task has them
    if parameters is None:
        try:
            parameters = Parameters(function, task=f"step {name}", injected=_Nothing, bind=False)
        except (TypeError, ValueError):  # a builtin, which says nothing of itself
            return plain
    return parameters.result(plain)
