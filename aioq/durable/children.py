"""Children: jobs that a durable job starts and waits for."""

import hashlib
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from aioq.broker.inspect import value_of
from aioq.broker.memos import CHILDREN_PER_CALL, MOST_CHILDREN, NewChild
from aioq.broker.scripts import End, NewJob
from aioq.core.errors import ConfigurationError
from aioq.durable.memo import Memo, Way

if TYPE_CHECKING:
    from aioq.tasks import Signature

R = TypeVar("R")

_JOB_ID = 128
"""Characters that the id of a job may have."""


class Children:
    """A group of children that a job starts; what `ctx.group()` gives.

    They are sent together, when the block ends or `ctx.wait` is called.  Leaving the block waits
    for none of them; `ctx.wait` does.
    """

    def __init__(self, way: Way, remember: Callable[[], Awaitable[Memo]]) -> None:
        self.children: list[Child[Any]] = []
        self._remember = remember
        self._way = way
        self._memo: Memo | None = None
        self._unsent: list[NewChild] = []

    def start(self, signature: "Signature[R]") -> "Child[R]":
        """Make a child of a call, such as `task.s(1)`; it may be awaited to have it sent at once.

        It keeps its own queue, priority, retries and limits.  Its id comes from its place among the
        job's children, so that a later run of the job starts no second one.

        Raises:
            NonDeterministic: an earlier run has started something else in its place.
        """
        memo = self._memo
        if memo is None:
            message = "write `async with ctx.group() as g:` before g.start(...)"
            raise ConfigurationError(message)
        prepared: Any = _prepared(signature)
        job: NewJob = prepared.job
        memo.children += 1
        number = memo.children
        name = f"child {number}"
        print_ = hashlib.sha1(job.task.encode() + b"\0" + job.payload).hexdigest()[:16]  # noqa: S324 - no secret
        entry = memo.ask(name, "pPrR")
        child: Child[R] = Child(self, name, _child_id(memo.family, number), prepared.convert)
        if entry is None:
            self._unsent.append(NewChild.of(number, print_, job._replace(job_id=child.id)))
        elif entry.partition(b" ")[0][-16:] != print_.encode():
            how = f"its child {number} was another call before; it is {signature!r} now"
            raise memo.differs(how)
        self.children.append(child)
        return child

    async def send(self) -> None:
        """Send what has not been sent yet."""
        memo, unsent = self._memo, self._unsent
        self._unsent = []
        assert memo is not None  # noqa: S101 - a group with children has one
        for start in range(0, len(unsent), CHILDREN_PER_CALL):
            part = unsent[start : start + CHILDREN_PER_CALL]
            if not await self._way.start(part):
                message = (
                    f"{memo.task} starts more than {MOST_CHILDREN:,} children; enqueue a "
                    "group(...) in a step, or let children start some of them"
                )
                raise ConfigurationError(message)
            for each in part:
                entry = f"p{each.print} {each.job_id}".encode()
                memo.entries[f"child {each.number}"] = entry

    async def __aenter__(self) -> Self:
        self._memo = await self._remember()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            await self.send()


class Child(Generic[R]):
    """A job that another one has started and may wait for."""

    def __init__(
        self, group: Children, name: str, job_id: str, convert: Callable[[Any], Any]
    ) -> None:
        self.group = group
        self.name = name
        self.id: str = job_id
        """Of the job."""
        self._convert = convert

    def __repr__(self) -> str:
        return f"<Child {self.id}>"

    def __await__(self) -> Generator[Any, None, "Child[R]"]:
        """Have it sent now; `ctx.wait` waits for its end."""
        yield from self.group.send().__await__()
        return self

    def goes_on(self, memo: Memo) -> bool:
        """Whether it has not ended."""
        return memo.entries[self.name][:1] not in {b"r", b"R"}

    def _end(self, memo: Memo) -> End:
        entry = memo.entries[self.name]
        large = memo.results.get(self.name)
        return End(chr(entry[1]), entry.split(b" ", 2)[2] if large is None else large)

    def is_large(self, memo: Memo) -> bool:
        """Whether it has ended with a result that is yet to be read."""
        return memo.entries[self.name][:1] == b"R" and self.name not in memo.results

    def result(self, memo: Memo) -> R:
        """Return what its task returned, or raise."""
        return value_of(self.id, self._end(memo), known=True, convert=self._convert)


def _prepared(signature: object) -> object:
    prepare = getattr(signature, "prepare", None)
    prepared = prepare() if prepare is not None else None
    job = getattr(prepared, "job", None)
    if not isinstance(job, NewJob):
        message = (
            f"g.start takes a call of one task, such as task.s(1), not {signature!r}; enqueue a "
            "workflow in a step"
        )
        raise TypeError(message)
    if job.nonce:
        message = f"{signature!r} has a job_id; the id of a child comes from its place"
        raise ConfigurationError(message)
    if " u:" in job.lane:
        message = f"{signature!r} is unique, so it may be no job of its own; enqueue it in a step"
        raise ConfigurationError(message)
    return cast("object", prepared)


def _child_id(family: str, number: int) -> str:
    child_id = f"{family}.{number}"
    if len(child_id) <= _JOB_ID:
        return child_id
    return hashlib.sha1(child_id.encode()).hexdigest()  # noqa: S324 - no secret
