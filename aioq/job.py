"""The handle of one job.  It caches nothing: each question is asked of the server."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

from aioq.broker import inspect, scripts
from aioq.broker.client import Client
from aioq.core.errors import ConfigurationError
from aioq.core.record import JobInfo, JobState

R = TypeVar("R")


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 - the identity
    return value


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
        end = await self._end(timeout)
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

        What waits ends at once.  A running task is cancelled, and may clean up; the revoke is
        recorded before its worker is told, so the job ends as REVOKED even if the worker dies or
        the task returns a value all the same.  A `def` task in a thread cannot be stopped: the
        job ends, and the thread goes on.

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
        return (await broker.revoke([self.id], at_once=terminate, keep_ms=keep_ms))[0]

    def revoke_sync(self, *, terminate: bool = False) -> bool:
        """`revoke` from plain sync code."""
        refuse_in_loop("revoke_sync", "await job.revoke()")
        broker = self._client.sync()
        call = scripts.revoke(
            broker.keys.prefix,
            at_once=terminate,
            keep_ms=self._client.keep_ms,
            job_ids=[self.id],
        )
        return broker.persist(call)[0]

    def result_sync(self, timeout: float | None = None) -> R:
        """`result` from plain sync code; it blocks the thread."""
        refuse_in_loop("result_sync", "await job.result(...)")
        end = self._client.sync().wait(self.id, timeout)
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
