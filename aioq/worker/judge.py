"""Turn what came of a run, other than a value, into its outcome, and tell the log."""

import asyncio
import logging
import traceback

import msgspec

from aioq.broker.scripts import Delivery
from aioq.context import CancelReason, Context
from aioq.core import codec
from aioq.core.clock import milliseconds
from aioq.core.errors import (
    AioqError,
    ConfigurationError,
    InvalidArguments,
    TimeLimitExceeded,
    WorkerLost,
)
from aioq.core.holds import Holds
from aioq.core.outcome import (
    Buried,
    Crashed,
    GivenBack,
    Outcome,
    Parked,
    Retried,
    Unserved,
    decide,
    decide_interrupted,
    original,
)
from aioq.core.retry import Reject, Retry, Snooze
from aioq.core.suspend import suspend_in
from aioq.worker import orders
from aioq.worker.inputs import NotAdmitted
from aioq.worker.plan import Plan
from aioq.worker.task_process import Died, NoProcess
from aioq.worker.turn import NotStarted

log: logging.Logger = logging.getLogger("aioq.worker")

_PAUSE = "+1000"
"""Milliseconds until a job for which there was no process is tried again."""


def _is_request(error: BaseException) -> bool:
    return isinstance(error, (Retry, Snooze, Reject)) or suspend_in(error) is not None


class UnknownTask(AioqError):
    """No worker knows the task; kept as the reason in the dead letter."""


class Judge:
    """Decides, for the executor.

    Args:
        patience: seconds that a job may wait for a worker that can run it.
    """

    def __init__(self, patience: float) -> None:
        self._patience_ms = milliseconds(patience)

    def unknown(self, delivery: Delivery) -> Outcome:
        """Judge a job whose task is not ours."""
        name = delivery.task.decode()
        error = UnknownTask(
            f"no worker that serves this queue knows the task {name!r}; deploy it, or include its "
            "module in the app"
        )
        log.warning("Job %s is given back: %s.", delivery.job_id.decode(), error)
        return self._unserved(error)

    def ungated(
        self, plan: Plan, holds: Holds, delivery: Delivery, call: codec.Payload | None = None
    ) -> Outcome:
        """Judge a job that came past the gates of its task's limits, as one sent by name does."""
        try:
            args, kwargs = plan.given(call or codec.decode_payload(delivery.payload))
            return Parked(holds.of(args, kwargs))
        except codec.NewerPayload as error:
            return self._unserved(error)
        except ConfigurationError as error:  # another try would end the same way
            log.exception("Job %s of %s failed.", delivery.job_id.decode(), plan.name)
            return Buried(codec.encode_error(error))
        except Exception as error:  # noqa: BLE001 - arguments of any kind; none of ours is hidden
            return self._decide(plan, delivery, error)

    def failed(
        self, plan: Plan, delivery: Delivery, context: Context, error: BaseException
    ) -> Outcome:
        """Judge a run that raised, be it because it was cancelled; the context knows of that."""
        if context.cancel_reason is not None:
            outcome = self._cancelled(plan, delivery, context.cancel_reason, error)
            if outcome is not None:
                return outcome
        if isinstance(error, codec.NewerPayload):
            return self._unserved(error)
        if isinstance(error, NotAdmitted) and plan.holds is not None:
            return self.ungated(plan, plan.holds, delivery, error.call)
        if isinstance(error, Died):
            return self._crashed(plan, delivery, error)
        if isinstance(error, NoProcess):  # no fault of the job's
            job_id = context.job_id
            log.error("Job %s of %s is given back: no process starts: %s", job_id, plan.name, error)
            return GivenBack(_PAUSE)
        return self._decide(plan, delivery, error)

    def exceeded(
        self, plan: Plan, delivery: Delivery, error: BaseException | None = None
    ) -> Outcome:
        """Judge a run that came to its time limit, and then raised this, or returned."""
        message = f"{plan.name} ran longer than its time_limit of {plan.time_limit:g} s"
        exceeded = TimeLimitExceeded(message)
        if error is not None and plan.executor == "loop":
            exceeded = exceeded.with_traceback(error.__traceback__)  # where it was
            if not isinstance(error, asyncio.CancelledError):
                exceeded.__context__ = error
        return self._decide(plan, delivery, exceeded)

    def _cancelled(
        self, plan: Plan, delivery: Delivery, reason: CancelReason, error: BaseException
    ) -> Outcome | None:
        """Judge a run that was cancelled; None: what it raised counts."""
        if reason == "time limit":
            return self.exceeded(plan, delivery, error)
        is_cancelled = isinstance(error, asyncio.CancelledError)
        if reason != "shutdown":
            return GivenBack() if is_cancelled else None
        # What breaks while a job is torn down is not its own error, and must use no retry.  What
        # it asks for by itself is granted.  At most once, an error is an end.
        if is_cancelled or (plan.acks_late and not _is_request(error)):
            has_started = not isinstance(error, NotStarted)
            return decide_interrupted(plan.name, acks_late=plan.acks_late, has_started=has_started)
        return None

    def _crashed(self, plan: Plan, delivery: Delivery, error: Died) -> Outcome:
        lost = WorkerLost(f"the process that ran {plan.name} died: {error}")
        log.error("Job %s of %s crashed: %s.", delivery.job_id.decode(), plan.name, lost)
        return Crashed(codec.encode_error(lost, with_traceback=False))

    def _decide(self, plan: Plan, delivery: Delivery, error: BaseException) -> Outcome:
        raised = error.error or error if isinstance(error, orders.Failed) else error
        outcome = decide(raised, plan.retry_policy, delivery.retries)
        if isinstance(error, orders.Failed) and isinstance(outcome, (Buried, Retried)):
            # What the child has written down knows more: the traceback stayed there.
            outcome = msgspec.structs.replace(outcome, error=error.encoded)
        if isinstance(outcome, Buried):
            self._log_failure(plan, delivery, original(raised), outcome.error)
        elif isinstance(outcome, Retried):
            log.warning(
                "Job %s of %s will be tried again (retry %d, due %s ms): %s",
                delivery.job_id.decode(),
                plan.name,
                delivery.retries + 1,
                outcome.delay,
                # Not its repr: one that was made without its __init__ may have none.
                traceback.format_exception_only(original(raised))[-1].strip(),
            )
        return outcome

    def _log_failure(
        self, plan: Plan, delivery: Delivery, error: BaseException, encoded: bytes
    ) -> None:
        job_id = delivery.job_id.decode()
        if isinstance(error, InvalidArguments):  # the caller's mistake: no traceback of ours
            log.error("Job %s of %s failed: %s", job_id, plan.name, error)
        elif plan.executor == "process":
            trace = codec.decode_error(encoded).traceback
            log.error("Job %s of %s failed.\n%s", job_id, plan.name, trace.rstrip())
        else:
            trace = codec.users_traceback(error)
            log.error(
                "Job %s of %s failed.", job_id, plan.name, exc_info=(type(error), error, trace)
            )

    def _unserved(self, error: AioqError) -> Unserved:
        return Unserved(codec.encode_error(error, with_traceback=False), self._patience_ms)
