"""Run jobs: decode, inject, call, and decide what became of it.

Each job is one asyncio task and nothing more: no task group, lock or timer of its own.  What a
run produced is turned into an Outcome here; writing it is the settler's work.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from aioq.broker.broker import Broker
from aioq.broker.scripts import Delivery
from aioq.context import Context, Request, running
from aioq.core import codec
from aioq.core.clock import from_ms, milliseconds
from aioq.core.errors import AioqError, InvalidArguments
from aioq.core.outcome import (
    Buried,
    Completed,
    GivenBack,
    Outcome,
    Retried,
    Unserved,
    decide,
    original,
)
from aioq.tasks import Task
from aioq.worker import child
from aioq.worker.plan import Plan
from aioq.worker.runners import Processes, Threads

if TYPE_CHECKING:
    from aioq.app import Aioq

log: logging.Logger = logging.getLogger("aioq.worker")

Settle = Callable[[Delivery, Outcome], None]
STUBBORN = 5.0
"""Seconds a cancelled job may take to end before the worker leaves without it."""


class UnknownTask(AioqError):
    """No worker knows the task; kept as the reason in the dead letter."""


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
        self._plans: dict[bytes, Plan] = {}
        self._running: dict[asyncio.Task[None], Context] = {}
        self._loop = asyncio.get_running_loop()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.state: Any = None
        """What the lifespan yielded."""
        self.grace: float = 0
        """Seconds that leaving waits for the jobs."""
        self._hurry = asyncio.Event()

    def prepare(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        """Compile the tasks, so that a mistake shows at the start and not at the first job.

        Raises:
            ConfigurationError: naming the task and the parameter.
        """
        settings = self._app.settings
        for name, task in tasks.items():
            if task.definition.executor == "process":
                child.reference(task)
            self._plans[name.encode()] = Plan.of(task, settings.result_expires)

    @property
    def room(self) -> int:
        """How many more jobs may start."""
        return self._concurrency - len(self._running)

    @property
    def count(self) -> int:
        """How many jobs run."""
        return len(self._running)

    async def wait_for_room(self) -> None:
        """Return when a job may start."""
        if self.room <= 0:
            self._has_room.clear()
            await self._has_room.wait()

    def start(self, delivery: Delivery, queue: str) -> None:
        """Start a job; it is settled whatever happens."""
        plan = self._plans.get(delivery.task)
        if plan is None:
            self._settle(delivery, self._unknown(delivery))
            return
        context = self._context(plan, delivery, queue)
        task = self._loop.create_task(self._run(plan, delivery, context))
        self._running[task] = context
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._has_room.set()
        if not task.cancelled() and task.exception() is not None:
            # Not the job's error, which is an outcome by now: a bug of ours, or an exit.
            task.get_loop().call_exception_handler(
                {"message": "A job could not be settled.", "exception": task.exception()}
            )

    async def _run(self, plan: Plan, delivery: Delivery, context: Context) -> None:
        try:
            payload = codec.decode_payload(delivery.payload)
            context.headers = payload.headers
            running.set(context)
            outcome = await self._call(plan, delivery, payload, context)
        except codec.NewerPayload as error:
            outcome = self._unserved(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a task may raise anything
            outcome = self._decide(plan, delivery, error)
        except asyncio.CancelledError as error:
            if context.cancel_reason is not None:
                outcome = GivenBack()
            else:  # the task's own, such as a cancelled child that it awaited
                outcome = self._decide(plan, delivery, error)
        self._settle(delivery, outcome)

    async def _call(
        self, plan: Plan, delivery: Delivery, payload: codec.Payload, context: Context
    ) -> Outcome:
        """Call the task where its executor says; return what becomes of a good end."""
        if plan.executor == "process":
            note = self._noting(delivery)
            encoded = await self._processes.run(plan.task, delivery.payload, context, note)
            return Completed(b"" if plan.ignore_result else encoded, plan.keep_ms)
        args, kwargs = plan.arguments(payload, context)
        if plan.executor == "loop":
            value = await plan.function(*args, **kwargs)
        else:
            note = self._noting(delivery)
            value = await self._threads.run(plan.function, args, kwargs, note)
        return Completed(plan.encode(value), plan.keep_ms)

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
            _report=partial(self._broker.update, delivery, "p"),
            _loop=self._loop,
        )

    def _noting(self, delivery: Delivery) -> Callable[[str], Any]:
        return lambda mark: self._broker.update(delivery, mark)

    def _decide(self, plan: Plan, delivery: Delivery, error: BaseException) -> Outcome:
        raised = error.error or error if isinstance(error, child.Failed) else error
        outcome = decide(raised, plan.retry_policy, delivery.retries)
        if isinstance(error, child.Failed) and isinstance(outcome, (Buried, Retried)):
            # What the child has written down knows more: the traceback stayed there.
            outcome = msgspec.structs.replace(outcome, error=error.encoded)
        if isinstance(outcome, Buried):
            self._log_failure(plan, delivery, original(raised))
        elif isinstance(outcome, Retried):
            log.warning(
                "Job %s of %s will be tried again (retry %d, due %s ms): %r",
                delivery.job_id.decode(),
                plan.name,
                delivery.retries + 1,
                outcome.delay,
                original(raised),
            )
        return outcome

    def _log_failure(self, plan: Plan, delivery: Delivery, error: BaseException) -> None:
        job_id = delivery.job_id.decode()
        if isinstance(error, InvalidArguments):  # the caller's mistake: no traceback of ours
            log.error("Job %s of %s failed: %s", job_id, plan.name, error)
        else:
            trace = codec.users_traceback(error)
            log.error(
                "Job %s of %s failed.", job_id, plan.name, exc_info=(type(error), error, trace)
            )

    def _unknown(self, delivery: Delivery) -> Outcome:
        name = delivery.task.decode()
        error = UnknownTask(
            f"no worker that serves this queue knows the task {name!r}; deploy it, or include its "
            "module in the app"
        )
        log.warning("Job %s is given back: %s.", delivery.job_id.decode(), error)
        return self._unserved(error)

    def _unserved(self, error: AioqError) -> Unserved:
        patience = milliseconds(self._app.settings.unknown_task_patience)
        return Unserved(codec.encode_error(error, with_traceback=False), patience)

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
                ended = asyncio.ensure_future(asyncio.wait(self._running))
                hurried = asyncio.ensure_future(self._hurry.wait())
                either = asyncio.FIRST_COMPLETED
                await asyncio.wait({ended, hurried}, timeout=self.grace, return_when=either)
                ended.cancel()
                hurried.cancel()
        finally:
            await self._give_back()
            self._threads.close()

    async def _give_back(self) -> None:
        """Cancel what still runs; the outcome of each is then to be given back."""
        if not self._running:
            return
        log.warning("Giving back %d jobs that did not end in time.", len(self._running))
        for task, context in self._running.items():
            context.cancel_reason = "shutdown"
            task.cancel("shutdown")
        _, stubborn = await asyncio.wait(self._running, timeout=STUBBORN)
        if stubborn:
            log.error("%d jobs swallow their cancellation; leaving without them.", len(stubborn))
