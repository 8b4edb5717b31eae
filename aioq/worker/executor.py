"""Run jobs: decode, inject, call, and see each to its end.

Each job is one asyncio task and nothing more: no task group, lock or timer of its own.  A run
becomes an Outcome, which is handed on exactly once; writing it is the settler's work.

A job that is cancelled (its time limit, a revoke, a lost lease, the worker's leaving) has a bound
to end in.  One that swallows its cancellation is abandoned then: its outcome is what it would have
been, its slot is free, and when it ends at last nobody listens.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from aioq.broker.broker import Broker
from aioq.broker.scripts import Delivery, name_of
from aioq.context import CancelReason, Context, Request, running
from aioq.core import codec
from aioq.core.clock import from_ms
from aioq.core.outcome import Completed, GivenBack, Outcome
from aioq.tasks import Task
from aioq.worker import inputs, orders
from aioq.worker.batches import Batches
from aioq.worker.deadlines import Deadline, Deadlines
from aioq.worker.judge import Judge
from aioq.worker.link import Link
from aioq.worker.plan import Plan
from aioq.worker.runners import Processes, Threads
from aioq.worker.soft_limit import SoftLimit
from aioq.worker.stacks import place_of_task
from aioq.worker.turn import Lost, Turn

if TYPE_CHECKING:
    from aioq.app import Aioq

log: logging.Logger = logging.getLogger("aioq.worker")

Job = asyncio.Task[None]
Settle = Callable[[Delivery, Outcome], None]
STUBBORN = 5.0
"""Seconds a cancelled job may take to end before it is abandoned."""


class Executor:
    """The running jobs of a worker.

    As a context manager it is the shutdown order: leaving it waits for the jobs within the
    grace, then cancels them, and a cancelled job is given back.
    """

    def __init__(
        self,
        app: "Aioq",
        broker: Broker,
        settle: Settle,
        *,
        concurrency: int,
        threads: Threads,
        processes: Processes,
    ) -> None:
        self._app = app
        self._broker = broker
        self._settle = settle
        self._concurrency = concurrency
        self._threads = threads
        self._processes = processes
        self._judge = Judge(app.settings.unknown_task_patience)
        self._plans: dict[bytes, Plan] = {}
        self._running: dict[Job, tuple[Delivery, Context]] = {}
        self._abandoned: dict[Job, Context] = {}
        self._deadlines = Deadlines()
        self._batches = Batches(
            threads=threads,
            deadlines=self._deadlines,
            room=lambda: self.room,
            cancel=self._cancel,
            note=broker.update,
        )
        self._loop = asyncio.get_running_loop()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.state: Any = None
        """What the lifespan yielded."""
        self.grace: float | None = 0
        """Seconds that leaving waits for the jobs; None: as long as they take."""
        self._hurry = asyncio.Event()
        self.on_ended: Callable[[Delivery], None] | None = None
        """Told when a job ends or is abandoned."""
        self.suspect: Delivery | None = None
        """The job that a crash may be the fault of; it is put into no batch with others."""

    def prepare(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        """Compile the tasks, so that a mistake shows at the start and not at the first job.

        Raises:
            ConfigurationError: naming the task and the parameter.
        """
        settings = self._app.settings
        for name, task in tasks.items():
            if task.definition.executor == "process":
                orders.reference(task)
            plan = self._plans[name.encode()] = Plan.of(task, settings.result_expires)
            if plan.is_batch:
                self._batches.prepare(plan, concurrency=self._concurrency)

    @property
    def room(self) -> int:
        """How many more jobs may start."""
        return self._concurrency - len(self._running)

    @property
    def count(self) -> int:
        """How many jobs run."""
        return len(self._running)

    @property
    def abandoned(self) -> int:
        """How many jobs go on although they were cancelled, settled and given up."""
        return len(self._abandoned)

    def described(self) -> str:
        """Say which tasks run, and how many jobs of each."""
        tasks = Counter(context.task_name for _, context in self._running.values())
        return ", ".join(f"{count} of {name}" for name, count in tasks.most_common())

    def held(self) -> list[bytes]:
        """Name the deliveries that run, and are still this worker's."""
        return [
            name_of(delivery)
            for delivery, context in self._running.values()
            if context.cancel_reason != "lease lost"
        ]

    async def wait_for_room(self) -> None:
        """Return when a job may start."""
        if self.room <= 0:
            self._has_room.clear()
            await self._has_room.wait()

    def start(self, delivery: Delivery, queue: str, *, gated: bool = False) -> None:
        """Start a job; it is settled whatever happens.

        Args:
            delivery: the job.
            queue: where it comes from.
            gated: it has passed the gates of its limits; one of a limited task that has not is
                sent there.
        """
        plan = self._plans.get(delivery.task)
        if plan is None:
            self._send_away(delivery, self._judge.unknown(delivery))
            return
        if plan.holds is not None and not gated:
            if delivery.payload[:1] == codec.USUAL:
                self._send_away(delivery, self._judge.ungated(plan, plan.holds, delivery))
                return
            plan = inputs.Ungated(*plan)
        context = self._context(plan, delivery, queue)
        job = self._loop.create_task(self._run(plan, delivery, context))
        self._running[job] = delivery, context
        job.add_done_callback(self._ended)

    def _send_away(self, delivery: Delivery, outcome: Outcome) -> None:
        """Settle a job that does not start."""
        self._settle(delivery, outcome)
        if self.on_ended is not None:
            self.on_ended(delivery)

    def revoke(self, job_id: bytes, entry_id: bytes | None = None) -> bool:
        """Cancel a running job on request; False: it does not run here.

        Args:
            job_id: the job.
            entry_id: only this delivery of it.
        """
        for job, (delivery, context) in self._running.items():
            if delivery.job_id == job_id and entry_id in {None, delivery.entry_id}:
                if context.cancel_reason == "lease lost":
                    return False
                log.info("Job %s of %s is revoked.", job_id.decode(), context.task_name)
                self._cancel(job, "revoked")
                return True
        return False

    def lose(self) -> None:
        """Cancel all that runs, and settle none of it: whoever reaped this worker has the jobs."""
        if self._running:
            log.warning("The lease was lost: %d jobs are cancelled.", len(self._running))
        for job, (_, context) in self._running.items():
            self._cancel(job, "lease lost")
            context.cancel_reason = "lease lost"  # even if it was being cancelled already

    async def _run(self, plan: Plan, delivery: Delivery, context: Context) -> None:
        try:
            if plan.is_plain and delivery.payload[:1] == codec.USUAL:
                payload = codec.decode_payload(delivery.payload)
                context.headers = payload.headers
                running.set(context)
                args, kwargs = plan.arguments(payload, context)
                result = plan.encode(await plan.function(*args, **kwargs))
            else:
                result = await self._call(plan, delivery, context)
            memo = context._link.memo  # noqa: SLF001 # pyright: ignore - a call more for every job
            if memo is not None:
                memo.check_end()
            outcome: Outcome = Completed(result, plan.keep_ms)
        except (KeyboardInterrupt, GeneratorExit):  # the end of the loop, and no word of the task
            raise
        except BaseException as error:  # noqa: BLE001 - a task may raise anything
            outcome = self._failed(plan, delivery, context, error)
        reports = context._link.reports  # noqa: SLF001 # pyright: ignore - as above
        if reports is not None:
            await reports.finished()  # pyright: ignore - as above
        if context.cancel_reason is None:
            self._settle(delivery, outcome)
        elif self._counts(context):
            if isinstance(outcome, Completed) and context.cancel_reason == "time limit":
                outcome = self._judge.exceeded(plan, delivery)
            self._settle(delivery, outcome)

    def _failed(
        self, plan: Plan, delivery: Delivery, context: Context, error: BaseException
    ) -> Outcome:
        if isinstance(error, Lost):
            log.warning("Job %s was taken over before it started.", context.job_id)
            context.cancel_reason = "lease lost"
        if not self._counts(context):
            return GivenBack()
        return self._judge.failed(plan, delivery, context, error)

    def _counts(self, context: Context) -> bool:
        """Whether the word of the job that runs here counts: it is ours, and not abandoned."""
        return context.cancel_reason != "lease lost" and asyncio.current_task() in self._running

    async def _call(self, plan: Plan, delivery: Delivery, context: Context) -> bytes:
        """Call a task in another place than the event loop, within limits, or in a workflow."""
        plan, payload = await inputs.read(self._broker, plan, delivery)
        context.headers = payload.headers
        running.set(context)
        if plan.is_batch:
            alone = delivery is self.suspect
            return plan.encode(
                await self._batches.run(plan, delivery, payload, context, alone=alone)
            )
        job = asyncio.current_task()
        assert job is not None  # noqa: S101 - narrows the type
        deadlines: list[Deadline] = []

        def started() -> None:
            if plan.time_limit is not None:
                exceed = partial(self._cancel, job, "time limit")
                deadlines.append(self._deadlines.add(plan.time_limit, exceed))

        try:
            if plan.executor == "loop":
                args, kwargs = plan.arguments(payload, context)
                run = plan.function(*args, **kwargs)
                if plan.soft_time_limit is not None:
                    seconds = plan.soft_time_limit
                    run = SoftLimit(run, task=job, context=context, seconds=seconds)
                    deadlines.append(self._deadlines.add(seconds, run.interrupt))
                started()
                return plan.encode(await run)
            turn = Turn(partial(self._broker.update, delivery), started)
            try:
                return await self._call_elsewhere(plan, delivery, payload, context, turn)
            except asyncio.CancelledError as error:
                raise turn.cancelled(error) from error
        finally:
            for deadline in deadlines:
                self._deadlines.take_back(deadline)

    async def _call_elsewhere(
        self, plan: Plan, delivery: Delivery, payload: codec.Payload, context: Context, turn: Turn
    ) -> bytes:
        if plan.executor == "process":
            whole = inputs.for_process(payload, delivery.payload)
            return await self._processes.run(plan.task, whole, turn=turn, context=context)
        args, kwargs = plan.arguments(payload, context)
        call = partial(plan.function, *args, **kwargs)
        return plan.encode(await self._threads.run(call, turn=turn, context=context))

    def _ended(self, job: Job) -> None:
        run = self._running.pop(job, None)
        if run is None:
            context = self._abandoned.pop(job)
            log.info("Job %s of %s has ended at last.", context.job_id, context.task_name)
        else:
            delivery, context = run
            self._has_room.set()
            if self.on_ended is not None:
                self.on_ended(delivery)
            if job.cancelled() and context.cancel_reason != "lease lost":
                # Before its first step: `_run` lets no later cancellation through.
                self._settle(delivery, GivenBack())
        if not job.cancelled() and job.exception() is not None:
            # Not the job's error, which is an outcome by now: a bug of ours, or an exit.
            self._loop.call_exception_handler(
                {"message": "A job could not be settled.", "exception": job.exception()}
            )

    def _cancel(self, job: Job, reason: CancelReason) -> None:
        """Cancel a job, once; it is abandoned when that does not end it."""
        run = self._running.get(job)
        if run is None or run[1].cancel_reason is not None:
            return
        run[1].cancel_reason = reason
        job.cancel()
        self._deadlines.add(STUBBORN, partial(self._abandon, job))

    def _abandon(self, job: Job) -> None:
        """Give a job up that does not end: settle it as it would have ended, and free its slot."""
        if job not in self._running or job.done():
            return
        delivery, context = self._running.pop(job)
        self._abandoned[job] = context
        self._has_room.set()
        log.error(
            "Job %s of %s swallows its cancellation (%s); it is abandoned at %s.",
            context.job_id,
            context.task_name,
            context.cancel_reason,
            place_of_task(job),
        )
        if context.cancel_reason != "lease lost":
            plan, cancelled = self._plans[delivery.task], asyncio.CancelledError()
            self._settle(delivery, self._judge.failed(plan, delivery, context, cancelled))
        if self.on_ended is not None:
            self.on_ended(delivery)

    def _context(self, plan: Plan, delivery: Delivery, queue: str) -> Context:
        due_ms = delivery.due_ms
        return Context(
            request=Request(
                delivery.job_id.decode(),
                delivery.retries,
                delivery.deliveries,
                from_ms(due_ms) if due_ms else None,
            ),
            task_name=plan.name,
            queue=queue,
            state=self.state,
            _app=self._app,
            _link=Link(self._broker, delivery),
            _loop=self._loop,
        )

    def hurry(self) -> None:
        """Leave now, or cut the wait of leaving short."""
        self._hurry.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for the jobs within the grace, then cancel them; an error leaves them none."""
        try:
            if exc_type is None and self._running:
                if not self._hurry.is_set():  # or it would begin what is then cancelled
                    self._batches.hurry()
                ended = asyncio.ensure_future(asyncio.wait(self._running))
                hurried = asyncio.ensure_future(self._hurry.wait())
                either = asyncio.FIRST_COMPLETED
                await asyncio.wait({ended, hurried}, timeout=self.grace, return_when=either)
                ended.cancel()
                hurried.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._give_back()
                self._deadlines.close()
                self._threads.close()
                await self._processes.aclose()

    async def _give_back(self) -> None:
        """Cancel what still runs; the outcome of each is then to be given back."""
        if self._running:
            log.warning("Giving back %d jobs that did not end in time.", len(self._running))
        for job in self._running:
            self._cancel(job, "shutdown")
        for job in self._abandoned:  # they had their time
            job.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=STUBBORN)
        for job in list(self._running):
            self._abandon(job)
        if self._abandoned:
            log.error("Leaving without %d jobs that do not end.", len(self._abandoned))
