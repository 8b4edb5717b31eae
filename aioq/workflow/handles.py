"""The handles of workflows: the job of the result, and what more is known of a group."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from aioq.broker import plans
from aioq.broker.client import Client
from aioq.core.errors import JobNotFound, ResultExpired, Revoked, TaskFailed
from aioq.core.inputs import fill
from aioq.core.record import JobInfo, JobState, JobUpdate, Progress, Stored
from aioq.job import Job, refuse_in_loop
from aioq.tasks import Composable
from aioq.workflow.compiling import Node, Plan, Value, converter, shape_of
from aioq.workflow.compositions import Chain, Group

R = TypeVar("R")
T = TypeVar("T")

Place: TypeAlias = "str | list[Place] | dict[str, Place]"
"""A value of which only the ids of its jobs are known."""

_NO_JOB = "this workflow has no job, such as an empty group; its result is there at once"
_AT_ONCE = 10_000
"""Members of a group that are waited for at the same time."""


class Workflow(Job[R]):
    """A chain, a chord, a graph or a group that was sent: the job of its result.

    Its id is all that another process needs: `app.job(id)`.  `revoke()` ends all of its jobs that
    have not ended.
    """

    __slots__ = ()


class Member(NamedTuple):
    """One member of a group."""

    place: Place
    convert: Callable[[Any], Any]


class GroupWorkflow(Workflow[list[T]]):
    """A group that was sent; `result()` is the list of its members' results, in their order.

    `async for result in handle` gives the results as they come, whichever is first.  A member that
    failed raises there, unless the group has `on_failure="collect"`: then its error is given.
    """

    __slots__ = ("_collects", "_members")

    def __init__(
        self,
        job_id: str,
        client: Client,
        *,
        convert: Callable[[Any], Any],
        created: bool,
        members: Sequence[Member],
        collects: bool,
    ) -> None:
        super().__init__(job_id, client, convert=convert, created=created, known=True)
        self._members = members
        self._collects = collects

    def __len__(self) -> int:
        return len(self._members)

    def __aiter__(self) -> AsyncIterator[T]:
        # The ids of its members are known to whoever made it.
        return self._as_they_come() if self.created else self._at_the_end()

    async def progress(self) -> Progress:
        """Return how many results there are (`current`) of how many (`total`).

        Of a group in a group, the inner one's are counted.  Where errors are collected, they count.

        Raises:
            JobNotFound: it ended too long ago.
        """
        broker = self._client.broker()
        call = plans.progress(broker.keys.prefix, root=self.id)
        return self._progress(await broker.persist(call, patience=broker.enqueue_timeout))

    async def completed_count(self) -> int:
        """Return how many results there are."""
        return int((await self.progress()).current or 0)

    def progress_sync(self) -> Progress:
        """`progress` from plain sync code."""
        refuse_in_loop("progress_sync", "await group.progress()")
        broker = self._client.sync()
        return self._progress(broker.persist(plans.progress(broker.keys.prefix, root=self.id)))

    def _progress(self, found: plans.PlanProgress) -> Progress:
        if not found.state:
            message = f"workflow {self.id} has ended, and its record has expired"
            raise JobNotFound(message)
        total = found.needs - 1  # without its shape
        done = total if found.state == Stored.COMPLETED else max(found.gathered - 1, 0)
        return Progress(current=done, total=total)

    async def _at_the_end(self) -> AsyncGenerator[T]:
        for value in await self.result():
            yield value

    async def _as_they_come(self) -> AsyncGenerator[T]:
        ended: asyncio.Queue[asyncio.Task[T]] = asyncio.Queue()
        waiting: dict[asyncio.Task[T], int] = {}
        expired: list[int] = []
        upcoming = enumerate(self._members)

        def wait_for(some: Iterator[tuple[int, Member]]) -> None:
            for index, member in some:
                task = asyncio.ensure_future(self._result_of(member))
                waiting[task] = index
                task.add_done_callback(ended.put_nowait)

        try:
            wait_for(islice(upcoming, _AT_ONCE))
            while waiting:
                task = await ended.get()
                index = waiting.pop(task)
                wait_for(islice(upcoming, 1))
                if isinstance(task.exception(), ResultExpired):
                    expired.append(index)
                else:
                    yield task.result()
        finally:
            for task in waiting:
                task.cancel()
        if expired:  # the group has them too, for as long as its own result is kept
            values = await self.result()
            for index in expired:
                yield values[index]

    async def _result_of(self, member: Member) -> T:
        try:
            return cast("T", member.convert(await self._value_at(member.place)))
        except (TaskFailed, Revoked) as error:
            if not self._collects:
                raise
            return cast("T", error)

    async def _value_at(self, place: Place) -> Any:  # noqa: ANN401 - a plain value
        if isinstance(place, str):
            return await Job[Any](place, self._client, known=True).result()
        if isinstance(place, dict):
            values = await asyncio.gather(*map(self._value_at, place.values()))
            return dict(zip(place, values, strict=True))
        return await asyncio.gather(*map(self._value_at, place))


class Nothing(GroupWorkflow[Any]):
    """A workflow without a job, such as an empty group; it has ended as soon as it is sent."""

    __slots__ = ("_value",)

    def __init__(self, value: Any, convert: Callable[[Any], Any]) -> None:  # noqa: ANN401 - any
        self.id = ""
        self.created = True
        self._value = convert(value)

    def __repr__(self) -> str:
        return f"<Workflow without a job: {self._value!r}>"

    def __len__(self) -> int:
        return len(self._value)

    async def _as_they_come(self) -> AsyncGenerator[Any]:
        for value in self._value:
            yield value

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401, ARG002
        """Return the value, of which nothing is to be waited for."""
        return self._value

    get = result

    def result_sync(self, timeout: float | None = None) -> Any:  # noqa: ANN401, ARG002
        """`result` from plain sync code."""
        return self._value

    async def status(self) -> JobState:
        """Return SUCCESS."""
        return JobState.SUCCESS

    def status_sync(self) -> JobState:
        """`status` from plain sync code."""
        return JobState.SUCCESS

    async def info(self) -> JobInfo:
        """Raise `JobNotFound`: there is no job to tell of."""
        raise JobNotFound(_NO_JOB)

    def info_sync(self) -> JobInfo:
        """`info` from plain sync code."""
        raise JobNotFound(_NO_JOB)

    def ready_sync(self) -> bool:
        """Return True."""
        return True

    async def events(self) -> AsyncGenerator[JobUpdate]:
        """Tell nothing: nothing happened."""
        for update in ():
            yield update

    async def progress(self) -> Progress:
        """Return that nothing is missing of nothing."""
        return Progress(current=0, total=0)

    def progress_sync(self) -> Progress:
        """`progress` from plain sync code."""
        return Progress(current=0, total=0)

    async def revoke(self, *, terminate: bool = False) -> bool:  # noqa: ARG002 - nothing to end
        """Return False: it has ended."""
        return False

    def revoke_sync(self, *, terminate: bool = False) -> bool:  # noqa: ARG002 - nothing to end
        """`revoke` from plain sync code."""
        return False


def handle(
    composition: Composable[Any], plan: Plan, client: Client, *, created: bool
) -> Workflow[Any]:
    """Return the handle of a workflow that was sent."""
    assert plan.root is not None  # noqa: S101 - narrows the type
    job_id, convert = plan.root.job_id, converter(composition)
    while isinstance(composition, Chain):
        composition = composition.steps[-1]
    value = plan.output.value
    if isinstance(composition, Group) and isinstance(value, Node):  # one stands for it: on_error
        value = value.inputs[0].value
    if not isinstance(composition, Group) or not isinstance(value, list):
        return Workflow(job_id, client, convert=convert, created=created, known=True)
    group = cast("Group[Any]", composition)
    members = [
        Member(_place_of(part), converter(member))
        for part, member in zip(value, group.members, strict=True)
    ]
    return GroupWorkflow[Any](
        job_id,
        client,
        convert=convert,
        created=created,
        members=members,
        collects=group.on_failure == "collect",
    )


def nothing(composition: Composable[Any], plan: Plan) -> Nothing:
    """Return the handle of a workflow without a job."""
    value = fill(shape_of(plan.output.value), iter(()), {})
    return Nothing(value, converter(composition))


def _place_of(value: Value) -> Place:
    if isinstance(value, Node):
        return value.job_id
    if isinstance(value, dict):
        return {name: _place_of(part) for name, part in value.items()}
    return [_place_of(part) for part in value]
