"""The handle of one job.  It caches nothing: each question is asked of the server."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from aioq.broker import inspect, plans, scripts, updates
from aioq.broker.client import Client
from aioq.broker.gathered import value_of
from aioq.broker.steps import take, take_sync
from aioq.core.errors import ConfigurationError
from aioq.core.inputs import GATHERED_VALUE
from aioq.core.record import JobInfo, JobState, JobUpdate
from aioq.streams import ItemStream

R = TypeVar("R")
T = TypeVar("T")


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 - the identity
    return value


class Items:
    """How to convert what a task streams; its result is None."""

    __slots__ = ("item",)

    def __init__(self, item: Callable[[Any], Any]) -> None:
        self.item: Callable[[Any], Any] = item

    def __call__(self, value: object) -> None:
        """Convert the result."""


class Job(Generic[R]):
    """One enqueued call; `R` is what its task returns.

    A handle can be made from an id alone, with `app.job(id)` or, typed, `task.job(id)`.
    """

    __slots__ = ("_client", "_convert", "_known", "created", "id")

    id: str
    created: bool
    """Whether the call that returned this handle made the job; False: the id existed."""

    def __init__(
        self,
        job_id: str,
        client: Client,
        *,
        convert: Callable[[Any], Any] = _as_it_is,
        created: bool = False,
        known: bool = False,
    ) -> None:
        self.id = job_id
        self.created = created
        self._client = client
        self._convert = convert
        self._known = known

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    async def result(self, timeout: float | None = None) -> R:
        """Wait for the job to end and return what its task returned.

        Args:
            timeout: seconds to wait; None: for as long as it takes.

        Raises:
            TaskFailed: the task raised, and no retry was left.
            Revoked: the job was revoked, or expired before it started.
            ResultExpired: it ended too long ago.
            JobNotFound: nobody knows the job.
            TimeoutError: it had not ended in time; it goes on regardless.
        """
        begun = time.monotonic()
        end = await self._end(timeout)
        if end.value == GATHERED_VALUE:  # of a group: its results are elsewhere
            broker = self._client.broker()
            left = None if timeout is None else max(timeout - (time.monotonic() - begun), 1)
            steps = value_of(broker.keys.prefix, self.id)
            return self._convert(await take(broker, steps, patience=left))
        return inspect.value_of(self.id, end, known=self._known, convert=self._convert)

    get = result

    async def _end(self, timeout: float | None) -> scripts.End:
        waiters = self._client.broker().waiters
        if timeout is not None and timeout <= 0:  # a look, without waiting
            end = await waiters.ask(self.id)
            if end.state != "-":
                return end
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    return await waiters.wait(self.id)
        raise TimeoutError(f"job {self.id} had not ended after {timeout:g} s")

    def stream(self, after: str | None = None) -> ItemStream[Any]:
        """Return what the job streams: each item once, in order, as its task yields it.

        The stream ends when the job ends: quietly where it succeeds, else with what `result`
        raises.  Nothing is asked of the server before it is iterated.

        Args:
            after: the position of the last item that is known already; default: begin with the
                oldest item that is kept of the newest run.

        Raises:
            ValueError: `after` is no position.
        """
        item = self._convert.item if isinstance(self._convert, Items) else _as_it_is
        return ItemStream(self.id, self._client, after=after, convert=item, known=self._known)

    def events(self) -> AsyncGenerator[JobUpdate]:
        """Tell what happens to the job: each state once, in order, from its start to its end.

        What happened before is told as far as it is kept; where it is not, or where events are
        switched off, the first update is the present state.  The last one is the end.

        Raises:
            JobNotFound: nobody knows the job.
            BrokerUnavailable: the server could not be asked even once, or the app was closed.
        """
        return updates.of_job(self._client.broker(), self.id)

    async def status(self) -> JobState:
        """Return the state of the job.

        Raises:
            JobNotFound: nobody knows the job.
        """
        return inspect.state_of(self.id, await self._client.broker().look(self.id))

    async def info(self) -> JobInfo:
        """Return all that is known of the job.

        Raises:
            JobNotFound: nobody knows the job.
        """
        return inspect.info_of(self.id, await self._client.broker().look(self.id))

    async def ready(self) -> bool:
        """Tell whether the job has ended, however it ended."""
        return (await self.status()).is_final

    async def successful(self) -> bool:
        """Tell whether the job has ended as SUCCESS."""
        return await self.status() is JobState.SUCCESS

    async def failed(self) -> bool:
        """Tell whether the job has ended as FAILURE."""
        return await self.status() is JobState.FAILURE

    async def revoke(self, *, terminate: bool = False) -> bool:
        """End the job on request; it ends as REVOKED, from wherever it is.

        With the last job of a workflow all jobs of it end.  What waits ends at once.  A running
        task is cancelled, and may clean up; the revoke is recorded before its worker is told, so
        the job ends as REVOKED even if the worker dies or the task returns a value all the same.
        A `def` task in a thread cannot be stopped: the job ends, and the thread goes on.

        Args:
            terminate: end the job now, whatever the running task does; without it the job ends
                when the task has.

        Returns:
            False: the job has ended already, or nobody knows it; nothing was changed.

        Raises:
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        keep_ms = self._client.keep_ms
        broker = self._client.broker()
        return await plans.revoke(broker, self.id, at_once=terminate, keep_ms=keep_ms)

    def revoke_sync(self, *, terminate: bool = False) -> bool:
        """`revoke` from plain sync code."""
        refuse_in_loop("revoke_sync", "await job.revoke()")
        broker, keep_ms = self._client.sync(), self._client.keep_ms
        return plans.revoke_sync(broker, self.id, at_once=terminate, keep_ms=keep_ms)

    def result_sync(self, timeout: float | None = None) -> R:
        """`result` from plain sync code; it blocks the thread."""
        refuse_in_loop("result_sync", "await job.result(...)")
        broker = self._client.sync()
        end = broker.wait(self.id, timeout)
        if end.value == GATHERED_VALUE:
            return self._convert(take_sync(broker, value_of(broker.keys.prefix, self.id)))
        value = inspect.value_of(self.id, end, known=self._known, convert=self._convert)
        return cast("R", value)

    def status_sync(self) -> JobState:
        """`status` from plain sync code."""
        return inspect.state_of(self.id, self._look_sync("status_sync", "await job.status()"))

    def info_sync(self) -> JobInfo:
        """`info` from plain sync code."""
        return inspect.info_of(self.id, self._look_sync("info_sync", "await job.info()"))

    def ready_sync(self) -> bool:
        """`ready` from plain sync code."""
        looked = self._look_sync("ready_sync", "await job.ready()")
        return inspect.state_of(self.id, looked).is_final

    def _look_sync(self, name: str, instead: str) -> scripts.Looked:
        refuse_in_loop(name, instead)
        broker = self._client.sync()
        return broker.persist(scripts.look(broker.keys.prefix, job_id=self.id))


class StreamJob(Job[None], Generic[T]):
    """One call of a task that streams: it yields `T`, and its result is None."""

    __slots__ = ()

    if TYPE_CHECKING:

        def stream(self, after: str | None = None) -> ItemStream[T]:
            """Return what the job streams."""
            ...


def refuse_in_loop(name: str, instead: str) -> None:
    """Refuse a blocking call inside a running event loop.

    Raises:
        ConfigurationError: naming what to write there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    message = f"{name}() would block the running event loop; write `{instead}` here"
    raise ConfigurationError(message)
