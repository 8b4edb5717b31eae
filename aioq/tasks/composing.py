"""What one call and any composition of calls have in common: they are values, sent by `enqueue`."""

from collections.abc import Coroutine, Iterable, Sequence
from copy import copy
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, Unpack, cast

from aioq.core import options
from aioq.core.options import Call, CallOptions
from aioq.job import Job, refuse_in_loop
from aioq.tasks.marking import coroutine_function

if TYPE_CHECKING:
    import aioq.workflow
    from aioq.tasks.signature import Signature

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Composable(Generic[R_co]):
    """A call, or calls that belong together, not sent yet; immutable.  `R_co` comes of it."""

    __slots__ = ("call", "errors", "names")

    def __init__(self, call: Call) -> None:
        self.call: Call = call
        """The options given with `set`."""
        self.errors: tuple[Signature[Any], ...] = ()
        """What runs if it fails."""
        self.names: tuple[str, ...] = ()
        """The nodes of a graph that it comes after."""

    @property
    def heads(self) -> int:
        """How many jobs take what comes before it."""
        return 1

    @property
    def depth(self) -> int:
        """How many compositions are inside one another."""
        return 0

    @property
    def parts(self) -> "Sequence[Composable[Any]]":
        """What it is made of; nothing, where it is one call."""
        return ()

    def set(self, **given: Unpack[CallOptions]) -> Self:
        """Return this with more options; see `Task.options`.

        Of a composition, `queue`, `priority`, `expires` and `headers` are for all of its jobs that
        have none of their own, `countdown` and `eta` for those that come first in it, and `job_id`
        is the id of its result.
        """
        merged = {**options_of(self.call), **given}
        return self.changed(call=options.call(merged, where=f"{self!r}.set"))

    def on_error(self, signature: "Signature[Any]") -> Self:
        """Return this with a call that runs once if it fails, or if what it waits for does.

        Nothing is prepended to its arguments; the error is `ctx.error`.
        """
        other = cast("object", signature)
        if not isinstance(other, Composable) or isinstance(other, workflow().Composition):
            message = (
                f"on_error takes the signature of one task, such as cleanup.s(); not {other!r}"
            )
            raise TypeError(message)
        if signature.errors:
            message = f"on_error({signature!r}): what runs on an error has no on_error of its own"
            raise ValueError(message)
        return self.changed(errors=(*self.errors, signature))

    def after(self, *names: str) -> Self:
        """Return this as a node of a graph that takes the results of these nodes, in this order."""
        return self.changed(names=(*self.names, *names))

    def __or__(self, other: "Composable[T]") -> "aioq.workflow.Chain[T]":
        """Return the chain of this and what takes its result."""
        if not isinstance(cast("object", other), Composable):
            return NotImplemented
        return workflow().joined(self, other)

    def __call__(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse to run here: a plain call of the task does that."""
        message = f"{self!r} is not called; write `await ....enqueue()` to send it"
        raise TypeError(message)

    @coroutine_function
    def enqueue(self, *args: object) -> Coroutine[Any, Any, Job[R_co]]:
        """Make all of its jobs.

        Args:
            *args: come before the arguments of what comes first, as a result would.
        """
        return workflow().send(self, args)

    def delay(self, *args: object) -> Coroutine[Any, Any, Job[R_co]]:
        """Celery's spelling of `enqueue`."""
        return self.enqueue(*args)

    def apply_async(
        self, args: Iterable[object] = (), **given: Unpack[CallOptions]
    ) -> Coroutine[Any, Any, Job[R_co]]:
        """Celery's spelling of `set(...).enqueue(...)`."""
        return (self.set(**given) if given else self).enqueue(*args)

    def enqueue_sync(self, *args: object) -> Job[R_co]:
        """`enqueue` from plain sync code."""
        refuse_in_loop("enqueue_sync", "await ....enqueue()")
        return workflow().send_sync(self, args)

    def changed(self, **fields: Any) -> Self:  # noqa: ANN401 - values of any field
        """Return a copy with other values of some fields."""
        made = copy(self)
        for name, value in fields.items():
            setattr(made, name, value)
        return made


def workflow() -> Any:  # noqa: ANN401 - a module
    """Return what knows the compositions; it stands above, and is needed where there are any."""
    return import_module("aioq.workflow")


def options_of(call: Call) -> dict[str, Any]:
    """Return the options of a call that were given."""
    values = ((name, getattr(call, name)) for name in call.__struct_fields__)
    return {name: value for name, value in values if value is not None}
