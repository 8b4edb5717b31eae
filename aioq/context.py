"""The running job, as its task sees it."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, cast

import msgspec

from aioq.core import codec
from aioq.core.errors import ConfigurationError, PayloadTooLarge, Revoked, TaskFailed
from aioq.core.retry import Reject, Retry, Snooze
from aioq.durable import Durable, NoWay, Way

if TYPE_CHECKING:
    from aioq.app import Aioq

CancelReason = Literal["shutdown", "time limit", "revoked", "lease lost"]


class Link(Way, Protocol):
    """The way of a running job to the server."""

    async def report(self, progress: bytes) -> bool:
        """Note encoded progress; False: it was not noted."""
        ...

    async def emit(self, generation: int, first: int, items: Sequence[bytes]) -> int:
        """Add encoded items to what the job streams; 0: the job was taken over, or has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """The facts of this delivery, under the name that Celery gives them."""

    id: str
    retries: int
    """Retries before this run."""
    deliveries: int
    """Deliveries so far, this one included."""
    eta: datetime | None
    """When it was due, for a job that was delayed."""


@dataclass(slots=True, kw_only=True, eq=False)
class Context(Durable):
    """What a task may know and ask while it runs; see `bind=True` and `CONTEXT`."""

    request: Request
    task_name: str
    queue: str
    headers: dict[str, Any] = field(default_factory=dict[str, Any])
    state: Any = None
    """What the app's lifespan yielded in this worker process."""
    cancel_reason: CancelReason | None = None
    """Why the worker cancels the job; None while it does not.

    "shutdown": the worker leaves, and the job will run again.  "time limit": it ran for too long,
    and has failed.  "revoked": on request.  "lease lost": another worker may run it by now, and
    nothing that this one says of it counts any more.
    """
    _app: "Aioq | None" = None
    _link: Link | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.request.id

    @property
    def app(self) -> "Aioq":
        """The app; not in a process task, whose context is data only."""
        if self._app is None:
            raise ConfigurationError(_data_only("ctx.app"))
        return self._app

    @property
    def error(self) -> TaskFailed | Revoked | None:
        """The error because of which the job runs, as the `on_error` of another; else None."""
        return cast("TaskFailed | Revoked | None", _failure.get())

    async def progress(
        self,
        current: float | None = None,
        total: float | None = None,
        message: str | None = None,
        **meta: Any,  # noqa: ANN401 - whatever MessagePack can hold
    ) -> None:
        """Report how far the job has come; it is then in state PROGRESS.

        Raises:
            TypeError: something of it cannot be serialised.
            PayloadTooLarge: it takes more than `Settings.max_payload`.
        """
        if self._link is None:
            raise ConfigurationError(_data_only("ctx.progress()"))
        try:
            report = codec.encode_value((current, total, message, meta))
        except (TypeError, OverflowError, ValueError, RecursionError) as error:
            raise TypeError(f"the progress cannot be serialised: {error}") from None
        if self._app is not None and len(report) > self._app.settings.max_payload:
            text = (
                f"the progress takes {len(report):,} bytes, more than "
                f"max_payload={self._app.settings.max_payload:,}; report numbers and a short text"
            )
            raise PayloadTooLarge(text)
        await self._link.report(report)

    def progress_sync(
        self,
        current: float | None = None,
        total: float | None = None,
        message: str | None = None,
        **meta: Any,  # noqa: ANN401 - whatever MessagePack can hold
    ) -> None:
        """`progress` from a `def` task."""
        self._run(self.progress(current, total, message, **meta))

    async def update_state(
        self, state: str = "PROGRESS", meta: dict[str, Any] | None = None
    ) -> None:
        """Celery's spelling of `progress`; a state other than PROGRESS is kept as the message."""
        message: dict[str, Any] = {} if state == "PROGRESS" else {"message": state}
        await self.progress(**{**message, **(meta or {})})

    def update_state_sync(
        self, state: str = "PROGRESS", meta: dict[str, Any] | None = None
    ) -> None:
        """`update_state` from a `def` task."""
        self._run(self.update_state(state, meta))

    def retry(
        self,
        exc: BaseException | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        max_retries: int | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> NoReturn:
        """Stop here and run the job again later; it never returns.

        Args:
            exc: the error behind it, which becomes the job's error when no retry is left;
                default: the exception being handled.
            countdown: seconds from now; default: the task's `default_retry_delay`.
            eta: an aware datetime, in place of `countdown`.
            max_retries: replaces the task's limit this time.
        """
        raise Retry(exc, countdown=countdown, eta=eta, max_retries=max_retries)

    def snooze(self, seconds: float) -> NoReturn:
        """Stop here and run the job again after `seconds`; no retry is counted."""
        raise Snooze(seconds)

    def reject(self, reason: str) -> NoReturn:
        """Stop here: the job fails without a retry and goes to the dead letters."""
        raise Reject(reason)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            coroutine.close()
            raise ConfigurationError(_data_only("progress"))
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _data_only(what: str) -> str:
    return f'{what} does not reach out of a task with executor="process"; its context is data only'


class _Placeholder(Context):
    """The default of a parameter that the worker fills."""

    def __init__(self) -> None:
        pass

    def __repr__(self) -> str:
        return "CONTEXT"


CONTEXT: Any = _Placeholder()  # of any type, so that it is the default of a BatchContext too
"""The default for a task's context parameter: `async def send(to: str, ctx: Context = CONTEXT)`."""


class _Nowhere(NoWay):
    """The link of a plain call, which is no job: nobody looks at what it says."""

    async def report(self, progress: bytes) -> bool:  # noqa: ARG002 - see above
        return True

    async def emit(self, generation: int, first: int, items: Sequence[bytes]) -> int:  # noqa: ARG002 - see above
        return 1


def local_context(task_name: str, queue: str) -> Context:
    """Return the context of a plain call: that of the running job, else one of no job at all."""
    found = running.get(None)
    if found is not None:
        return found
    request = Request(id="", retries=0, deliveries=0, eta=None)
    return Context(request=request, task_name=task_name, queue=queue, _link=_Nowhere())


def link_of(context: Context) -> Link:
    """Return the way of a running job to the server; for what wraps tasks in a worker."""
    link = context._link  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a friend
    if link is None:
        raise ConfigurationError(_data_only("a stream"))
    return link


_failure: ContextVar[Exception | None] = ContextVar("aioq_failure", default=None)


def tell_failure(error: Exception | None) -> None:
    """Say because of which error the job runs that runs here; see `Context.error`."""
    _failure.set(error)


running: ContextVar[Context] = ContextVar("aioq_job")
"""The context of the job that runs here."""


def current_job() -> Context:
    """Return the context of the job that is running, from anywhere inside its task.

    Raises:
        ConfigurationError: no job is running here.
    """
    try:
        return running.get()
    except LookupError:
        message = "current_job() was called outside a running job"
        raise ConfigurationError(message) from None
