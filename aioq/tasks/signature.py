"""A call of a task that has not been sent yet."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

from aioq.core import options
from aioq.core.options import Call, CallOptions
from aioq.job import Job, refuse_in_loop
from aioq.producer import Prepared
from aioq.tasks.marking import coroutine_function

if TYPE_CHECKING:
    from aioq.tasks.task import Task

R = TypeVar("R")


class Signature(Generic[R]):
    """A call of a task that has not been sent; immutable."""

    __slots__ = ("_call", "args", "kwargs", "task")

    def __init__(
        self,
        task: "Task[..., R]",
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: Call | None = None,
    ) -> None:
        self.task = task
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self._call = task.call if call is None else call

    def __repr__(self) -> str:
        arguments = [repr(value) for value in self.args]
        arguments += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task.name}.s({', '.join(arguments)})"

    def set(self, **given: Unpack[CallOptions]) -> "Signature[R]":
        """Return this signature with more options; see `Task.options`."""
        merged = {**options_of(self._call), **given}
        call = options.call(merged, where=f"{self.task.name}.s().set")
        return Signature(self.task, self.args, self.kwargs, call)

    @coroutine_function
    def enqueue(self) -> Coroutine[Any, Any, Job[R]]:
        """Make a job of this call; see `Task.enqueue`."""
        return self.task.home.producer.send(self.prepare())

    delay = enqueue

    @coroutine_function
    def apply_async(self, **given: Unpack[CallOptions]) -> Coroutine[Any, Any, Job[R]]:
        """Celery's spelling of `set(...).enqueue()`."""
        return (self.set(**given) if given else self).enqueue()

    def enqueue_sync(self) -> Job[R]:
        """`enqueue` from plain sync code."""
        refuse_in_loop("enqueue_sync", "await signature.enqueue()")
        return self.task.home.producer.send_sync([self.prepare()])[0]

    def prepare(self) -> Prepared:
        """Check and encode the call."""
        return self.task.prepare(self.args, self.kwargs, self._call)


def options_of(call: Call) -> dict[str, Any]:
    """Return the options of a call that were given."""
    values = ((name, getattr(call, name)) for name in call.__struct_fields__)
    return {name: value for name, value in values if value is not None}
