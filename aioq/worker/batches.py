"""Collect the jobs of batch tasks, and call the function for many of them at once.

Each job stays what every job is, an asyncio task of the executor: it decodes its own item, joins
the open batch of its task, and waits there for its own answer, which it returns or raises.  So
it is held, revoked, lost, retried and settled as any other.  The call is one more asyncio task;
it ends with its jobs, and they do not end before it, but for one that is revoked alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, cast

from aioq.broker.scripts import Delivery
from aioq.context import CancelReason, Context, running
from aioq.core import codec
from aioq.core.errors import ConfigurationError
from aioq.core.suspend import suspend_in
from aioq.tasks import BatchContext, BatchTask
from aioq.worker.deadlines import Deadline, Deadlines
from aioq.worker.plan import Plan
from aioq.worker.runners import Threads
from aioq.worker.soft_limit import SoftLimit
from aioq.worker.turn import Lost, Note, NotStarted, Turn

log: logging.Logger = logging.getLogger("aioq.worker")

Job = asyncio.Task[None]
_CANNOT_SUSPEND = (
    "a batch task cannot wait as a durable task does, because its jobs share one run; enqueue a "
    "task of its own for what has to wait"
)


class Member:
    """One job of a batch."""

    __slots__ = ("_error", "_result", "_trace", "answered", "context", "delivery", "item", "job")

    def __init__(self, item: object, delivery: Delivery, context: Context, job: Job) -> None:
        self.item: object = item
        self.delivery: Delivery = delivery
        self.context: Context = context
        self.job: Job = job
        self.answered: asyncio.Future[None] | None = job.get_loop().create_future()
        """Done with the answer; None: there is one, and nobody waits for it any more."""
        self._result: object = None
        self._error: BaseException | None = None
        self._trace: TracebackType | None = None

    def answer(self, value: object) -> None:
        """Say what became of it; an exception is raised."""
        if isinstance(value, (KeyboardInterrupt, GeneratorExit)):  # raised, they would end the loop
            value = RuntimeError(f"the batch task returned {value!r} for this job")
        elif isinstance(value, BaseException) and suspend_in(value) is not None:
            value = ConfigurationError(_CANNOT_SUSPEND)
        if isinstance(value, BaseException):
            self._error, self._trace = value, value.__traceback__
        else:
            self._result = value
        answered, self.answered = self.answered, None
        if answered is not None and not answered.done():
            answered.set_result(None)

    def result(self) -> object:
        """Return the answer, or raise it."""
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            # Jobs may share one error: each starts from the traceback that it came with.
            raise error.with_traceback(self._trace)
        finally:
            del error


class Batch:
    """Jobs that are called together."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.members: list[Member] = []
        """Final once it has begun."""
        self.timer: asyncio.Handle | None = None
        self.call: asyncio.Task[None] | None = None
        self.context: BatchContext | None = None
        self.has_begun: bool = False
        self.revoked: int = 0
        """How many of its jobs were revoked since it began."""

    @property
    def task(self) -> BatchTask[Any, Any]:
        """Its task."""
        return cast("BatchTask[Any, Any]", self.plan.task)

    def begin(self) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of the call; from here on nobody joins or leaves."""
        self.has_begun = True
        context = cast("BatchContext", self.context)
        context.jobs = tuple(member.context for member in self.members)
        return self.task.arguments([member.item for member in self.members], context)

    def cancel(self, reason: CancelReason) -> None:
        """Cancel the call, once."""
        if self.context is None:  # it has not taken its first step
            cast("asyncio.Task[None]", self.call).cancel()
        elif self.context.cancel_reason is None:
            self.context.cancel_reason = reason
            cast("asyncio.Task[None]", self.call).cancel()


class Batches:
    """The batches of a worker: one open one for each task, and those that run.

    Args:
        threads: where `def` tasks run.
        deadlines: those of the jobs.
        room: how many more jobs the worker may start.
        cancel: cancels one job.
        note: tells the server that a job waits for a thread, or starts.
    """

    def __init__(
        self,
        *,
        threads: Threads,
        deadlines: Deadlines,
        room: Callable[[], int],
        cancel: Callable[[Job, CancelReason], None],
        note: Callable[[Delivery, str], Awaitable[bool]],
    ) -> None:
        self._threads = threads
        self._deadlines = deadlines
        self._room = room
        self._cancel = cancel
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._open: dict[str, Batch] = {}
        self._is_full = False
        self._is_leaving = False

    @staticmethod
    def prepare(plan: Plan, *, concurrency: int) -> None:
        """Say when the batches of a task can never be full."""
        size = Batch(plan).task.collecting.size
        if size > concurrency:
            log.warning(
                "Batches of %s have at most %d jobs and not %d: a worker runs no more at the same "
                "time; raise its concurrency, or lower size.",
                plan.name,
                concurrency,
                size,
            )

    def hurry(self) -> None:
        """Call what has been collected, and wait for no more: the worker leaves."""
        self._is_leaving = True
        self._flush_all()

    async def run(
        self,
        plan: Plan,
        delivery: Delivery,
        payload: codec.Payload,
        context: Context,
        *,
        alone: bool,
    ) -> object:
        """Run one job within a batch; return what the call answered for it.

        Args:
            plan: of its task.
            delivery: the job.
            payload: its one item.
            context: its context.
            alone: it is suspected of a crash, and shares the call with nobody.
        """
        args, _ = plan.arguments(payload, context)
        job = cast("Job", asyncio.current_task())
        member = Member(args[0], delivery, context, job)
        batch = Batch(plan) if alone else self._collected(plan)
        batch.members.append(member)
        if alone or len(batch.members) >= batch.task.collecting.size:
            self._flush(batch)
        elif self._room() <= 0 and not self._is_full:
            # Nobody comes until somebody ends; others of this turn may be about to join.
            self._is_full = True
            self._loop.call_soon(self._flush_all)
        try:
            await cast("asyncio.Future[None]", member.answered)
        except asyncio.CancelledError:
            await self._leave(batch, member)
        return member.result()

    def _collected(self, plan: Plan) -> Batch:
        """Return the open batch of a task."""
        batch = self._open.get(plan.name)
        if batch is None:
            batch = self._open[plan.name] = Batch(plan)
            wait = 0 if self._is_leaving else batch.task.collecting.wait
            # The jobs that came in the same turn of the loop join before a call_soon.
            batch.timer = (
                self._loop.call_later(wait, self._flush, batch)
                if wait
                else self._loop.call_soon(self._flush, batch)
            )
        return batch

    def _flush_all(self) -> None:
        self._is_full = False
        for batch in list(self._open.values()):
            self._flush(batch)

    def _flush(self, batch: Batch) -> None:
        """Call a batch."""
        if self._open.get(batch.plan.name) is batch:
            del self._open[batch.plan.name]
        if batch.timer is not None:
            batch.timer.cancel()
        if batch.members and batch.call is None:
            batch.call = self._loop.create_task(self._call(batch))

    async def _leave(self, batch: Batch, member: Member) -> None:
        """Take a cancelled job out of its batch; return only if there is an answer all the same.

        Raises:
            CancelledError: there is none.
        """
        reason = member.context.cancel_reason or "shutdown"
        if batch.call is None or (not batch.has_begun and len(batch.members) > 1):
            batch.members.remove(member)
            raise NotStarted
        if member.answered is not None and reason == "revoked":
            batch.revoked += 1
            if batch.revoked < len(batch.members):
                raise asyncio.CancelledError
        batch.cancel(reason)
        try:
            await asyncio.wait({batch.call})
        except asyncio.CancelledError:  # it was given up: the worker leaves without it
            batch.call.cancel()
            raise
        if member.answered is not None:
            raise asyncio.CancelledError if batch.has_begun else NotStarted

    async def _call(self, batch: Batch) -> None:
        try:
            returned = await self._call_function(batch)
            answers = _aligned(batch, returned)
        except (KeyboardInterrupt, GeneratorExit):  # the end of the loop, and no word of the task
            raise
        except BaseException as error:  # noqa: BLE001 - a task may raise anything
            answers = [error] * len(batch.members)
        for member, answer in zip(batch.members, answers, strict=True):
            member.answer(answer)

    async def _call_function(self, batch: Batch) -> object:
        plan = batch.plan
        batch.context = context = _context(batch)
        running.set(context)
        deadlines: list[Deadline] = []

        def started() -> None:
            if plan.time_limit is not None:
                exceed = partial(self._exceed, batch)
                deadlines.append(self._deadlines.add(plan.time_limit, exceed))

        try:
            if plan.executor == "loop":
                args, kwargs = batch.begin()
                run = plan.function(*args, **kwargs)
                if plan.soft_time_limit is not None:
                    task, seconds = cast("Job", batch.call), plan.soft_time_limit
                    run = SoftLimit(run, task=task, context=context, seconds=seconds)
                    deadlines.append(self._deadlines.add(seconds, run.interrupt))
                started()
                return await run
            turn = _Turn(batch, partial(self._tell, batch), started)
            try:
                return await self._threads.run(turn.call, turn=turn, context=context)
            except asyncio.CancelledError as error:
                raise turn.cancelled(error) from error
        finally:
            for deadline in deadlines:
                self._deadlines.take_back(deadline)

    def _exceed(self, batch: Batch) -> None:
        for member in batch.members:
            self._cancel(member.job, "time limit")

    async def _tell(self, batch: Batch, mark: str) -> bool:
        """Note for each job that it waits for a thread, or starts; drop those that are not ours."""
        members = list(batch.members)
        noted = await asyncio.gather(*(self._note(each.delivery, mark) for each in members))
        for member, is_ours in zip(members, noted, strict=True):
            if not is_ours and member in batch.members and len(batch.members) > 1:
                batch.members.remove(member)
                member.answer(Lost())
        return any(noted)


class _Turn(Turn):
    """The wait of a batch for a thread, in which jobs can still leave it."""

    def __init__(self, batch: Batch, note: Note, started: Callable[[], None]) -> None:
        super().__init__(note, started)
        self._batch = batch
        self._arguments: tuple[list[Any], dict[str, Any]] = [], {}

    def has_come(self) -> None:
        """Begin, in the event loop: the thread finds the batch as it stays."""
        super().has_come()
        self._arguments = self._batch.begin()

    def call(self) -> object:
        """Call the function; in the thread."""
        args, kwargs = self._arguments
        return self._batch.plan.function(*args, **kwargs)


def _context(batch: Batch) -> BatchContext:
    """Return the context of a call; most of it is that of the first job."""
    first = batch.members[0].context
    return BatchContext(
        request=first.request,
        task_name=first.task_name,
        queue=first.queue,
        headers=first.headers,
        state=first.state,
        _app=first.app,
        _loop=asyncio.get_running_loop(),
    )


def _aligned(batch: Batch, returned: object) -> list[object]:
    """Return the answers of a call, one for each job.

    Raises:
        TypeError: it returned something else.
    """
    name, count = batch.plan.name, len(batch.members)
    if not isinstance(returned, (list, tuple)):
        kind = "None" if returned is None else f"a value of type {type(returned).__qualname__}"
        message = (
            f"{name} returned {kind} for {count} items; a batch task returns a list with one "
            "result, or exception, for each item, in their order"
        )
        raise TypeError(message)
    answers = list(cast("list[object] | tuple[object, ...]", returned))
    if len(answers) != count:
        message = (
            f"{name} returned {len(answers)} results for {count} items; a batch task returns one "
            "result, or exception, for each item, in their order"
        )
        raise TypeError(message)
    return answers
