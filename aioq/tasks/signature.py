"""A call of a task that has not been sent yet."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from aioq.core import codec
from aioq.core.errors import ConfigurationError
from aioq.core.inputs import calls
from aioq.core.options import Call, CallOptions
from aioq.job import Job, refuse_in_loop
from aioq.producer import Prepared
from aioq.tasks.composing import Composable, workflow
from aioq.tasks.marking import coroutine_function

if TYPE_CHECKING:
    from aioq.tasks.task import Task

R_co = TypeVar("R_co", covariant=True)


class Signature(Composable[R_co]):
    """A call of a task that has not been sent; immutable."""

    __slots__ = ("args", "immutable", "kwargs", "mapped", "task")

    def __init__(
        self,
        task: "Task[..., Any]",
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: Call | None = None,
        *,
        immutable: bool = False,
        mapped: int = 0,
    ) -> None:
        super().__init__(task.call if call is None else call)
        self.task: Task[..., Any] = task
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self.immutable: bool = immutable
        """Whether it takes no result of what comes before it."""
        self.mapped: int = mapped
        """1 and 2: the function is called for each item of the last argument, see `Task.map`."""

    def __repr__(self) -> str:
        how = ("si" if self.immutable else "s", "map", "starmap")[self.mapped]
        arguments = [repr(value) for value in self.args]
        arguments += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task.name}.{how}({', '.join(arguments)})"

    @coroutine_function
    def enqueue(self, *args: object, **kwargs: object) -> Coroutine[Any, Any, Job[R_co]]:
        """Make a job of this call; see `Task.enqueue`.

        Args:
            *args: come before the arguments that it has, as a result would.
            **kwargs: take the place of those that it has.
        """
        given = self.given(args, kwargs)
        if given.errors:
            return workflow().send(given, ())
        return given.task.home.producer.send(given.prepare())

    def delay(self, *args: object, **kwargs: object) -> Coroutine[Any, Any, Job[R_co]]:
        """Celery's spelling of `enqueue`."""
        return self.enqueue(*args, **kwargs)

    def apply_async(
        self,
        args: Iterable[object] = (),
        kwargs: Mapping[str, Any] | None = None,
        **given: Unpack[CallOptions],
    ) -> Coroutine[Any, Any, Job[R_co]]:
        """Celery's spelling of `set(...).enqueue(...)`."""
        return (self.set(**given) if given else self).enqueue(*args, **(kwargs or {}))

    def enqueue_sync(self, *args: object, **kwargs: object) -> Job[R_co]:
        """`enqueue` from plain sync code."""
        refuse_in_loop("enqueue_sync", "await signature.enqueue()")
        given = self.given(args, kwargs)
        if given.errors:
            return workflow().send_sync(given, ())
        return given.task.home.producer.send_sync([given.prepare()])[0]

    def given(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
    ) -> "Signature[R_co]":
        """Return it with these arguments before its own; an immutable one takes none."""
        if self.immutable or not (args or kwargs):
            return self
        return self.changed(args=(*args, *self.args), kwargs={**self.kwargs, **(kwargs or {})})

    def prepare(self) -> Prepared:
        """Check and encode the call, for a job that stands alone.

        Raises:
            ConfigurationError: it is a part of a workflow.
        """
        if self.errors or self.names:
            what = "on_error" if self.errors else "after"
            message = (
                f"{self!r} has {what}, which has a meaning only where it is enqueued by itself or "
                "in a workflow; leave it out here"
            )
            raise ConfigurationError(message)
        if not self.mapped:
            return self.task.prepare(self.args, self.kwargs, self.call)
        return self.prepare_step(self.call, inputs=None, before=0)

    def prepare_step(self, call: Call, *, inputs: Any, before: int) -> Prepared:  # noqa: ANN401
        """Check and encode the call, for a job of a workflow.

        Args:
            call: its options.
            inputs: the shapes of what comes before its arguments, see `core.inputs`.
            before: how many arguments these are.
        """
        task = self.task
        definition, holds = task.definition, self._check(before)
        if definition.unique if call.unique is None else call.unique:
            message = (
                f"{self!r} is unique, which neither a job of a workflow nor one that calls its "
                "function for many items can be: another job would be there in its place; "
                "set(unique=False)"
            )
            raise ConfigurationError(message)
        producer = task.home.producer
        prepared = producer.prepare(definition, self.args, self.kwargs, call, self.convert, holds)
        if inputs is None and not self.mapped:
            return prepared
        payload = codec.extended(prepared.job.payload, inputs=inputs, mapped=self.mapped)
        return Prepared(prepared.job._replace(payload=payload), prepared.convert)

    @property
    def convert(self) -> Callable[[Any], Any]:
        """Turns the plain result into the annotated type."""
        if self.task.definition.ignore_result:
            return _no_result
        one = self.task.parameters.result
        return (lambda values: [one(value) for value in values]) if self.mapped else one

    def _check(self, before: int) -> str:
        """Check the arguments as far as they are known; return the holds, where they are known.

        Where a key of a limit may depend on a result, whoever has the result works them out.
        """
        task = self.task
        args = (None,) * before + self.args
        if not self.mapped:
            task.parameters.check(args, self.kwargs)
            if task.holds is None:
                return ""
            return (task.holds.constant or "") if before else task.holds.of(args, self.kwargs)
        each_call = calls(codec.Payload([*args], self.kwargs, mapped=self.mapped))
        for each in each_call:
            task.parameters.check(tuple(each.args), each.kwargs)
        if task.holds is None:
            return ""
        if before or not each_call:
            return task.holds.constant or ""
        return task.holds.of(each_call[0].args, self.kwargs)


def _no_result(_: object) -> None:
    """Give None for what a task that keeps no result has left."""
