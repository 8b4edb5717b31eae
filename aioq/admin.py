"""Dead letters: what has failed, kept with its arguments until somebody looks.

Replaying a letter makes the same job again, not a copy of it: its id, and so every handle of it,
leads to the new run.
"""

import secrets
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, tzinfo
from typing import Any, cast

from aioq.broker import inspect, letters
from aioq.broker.broker import PER_CALL
from aioq.broker.client import Client
from aioq.broker.letters import Letters
from aioq.core.clock import moment_ms
from aioq.core.errors import JobNotFound
from aioq.core.listing import Listing
from aioq.core.record import DeadLetter, Stored, public_state
from aioq.job import Job
from aioq.tasks import Task

_UNKNOWN, _REPLAYED, _MORE = "-", "K", "M"


class DeadLetters:
    """The dead letters of an app; `app.dead_letters`."""

    def __init__(self, client: Client, *, timezone: tzinfo | None) -> None:
        self._client = client
        self._timezone = timezone

    def list(
        self,
        *,
        task: str | Task[..., Any] | None = None,
        queue: str | None = None,
        since: datetime | None = None,
    ) -> Listing[DeadLetter]:
        """List dead letters, the newest first; `async for`, or `await` for a list.

        The server is asked for a page at a time, so that any number of them can be gone through.
        What dies meanwhile is not in it.

        Args:
            task: only those of this task.
            queue: only those of this queue.
            since: only those that died then or later.

        Raises:
            ConfigurationError: `since` is naive, and there is no `Settings.timezone`.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        name, since_ms = _name_of(task), self._moment(since)

        async def read() -> AsyncGenerator[DeadLetter]:
            async for page in self._pages(name, queue, since_ms, full=True):
                for letter in page.letters:
                    yield letters.value_of(letter)

        return Listing(read)

    async def replay(self, job_id: str) -> Job[Any]:
        """Queue a dead letter again, as if it had never run.

        Id, arguments, queue and priority are those of before; retries, crashes and deliveries
        start at 0, and the old error goes.  `expires` does not count any more.

        Raises:
            JobNotFound: there is no such letter: nobody knows the job, it has not failed, it was
                replayed already, or its arguments are gone.
            BrokerUnavailable: the server stayed away for `Settings.enqueue_timeout`.
        """
        verdict = await self._replay([job_id])
        if verdict == _REPLAYED:
            return Job(job_id, self._client, known=True)
        raise JobNotFound(_no_letter(job_id, verdict))

    async def replay_all(
        self,
        *,
        task: str | Task[..., Any] | None = None,
        queue: str | None = None,
        since: datetime | None = None,
    ) -> int:
        """Replay all letters that `list` gives for the same arguments; return how many.

        Those whose arguments are gone are left out, and a job that fails again meanwhile is not
        replayed again.
        """
        replayed = 0
        async for page in self._pages(_name_of(task), queue, self._moment(since), full=False):
            if page.letters:
                verdicts = await self._replay([each.job_id.decode() for each in page.letters])
                replayed += verdicts.count(_REPLAYED)
        return replayed

    async def discard(self, job_id: str) -> bool:
        """Throw a dead letter away; False: there is none of this id.

        The job still says FAILURE for two minutes; then nobody knows it.
        """
        broker = self._client.broker()
        call = letters.discard(broker.keys.prefix, nonce=_nonce(), job_ids=[job_id])
        return (await broker.persist(call, patience=broker.enqueue_timeout))[0]

    async def _replay(self, job_ids: Sequence[str]) -> str:
        broker, verdicts = self._client.broker(), ""
        while job_ids:
            call = letters.replay(broker.keys.prefix, nonce=_nonce(), job_ids=job_ids)
            found = await broker.persist(call, patience=broker.enqueue_timeout)
            verdicts = verdicts or found.replace(_MORE, _REPLAYED)
            job_ids = [each for each, one in zip(job_ids, found, strict=True) if one == _MORE]
        return verdicts

    async def _pages(
        self, task: str, queue: str | None, since_ms: int, *, full: bool
    ) -> AsyncGenerator[Letters]:
        broker, after = self._client.broker(), ""
        while True:
            call = letters.letters(
                broker.keys.prefix,
                after=after,
                since=since_ms,
                task=task,
                queue=queue or "",
                full=full,
                most=PER_CALL,
            )
            page = await broker.persist(call, patience=broker.enqueue_timeout)
            yield page
            after = page.after
            if not after:
                return

    def _moment(self, since: datetime | None) -> int:
        given = cast("object", since)  # what its annotation promises is checked here
        if given is None:
            return 0
        if not isinstance(given, datetime):
            message = f"since={given!r} is no datetime: pass the moment from which letters count"
            raise TypeError(message)
        return moment_ms(given, self._timezone)


def _name_of(task: str | Task[..., Any] | None) -> str:
    return task.name if isinstance(task, Task) else task or ""


def _nonce() -> str:
    """Return what tells a call that is sent again from a second one."""
    return secrets.token_hex(4)


def _no_letter(job_id: str, verdict: str) -> str:
    if verdict == _UNKNOWN:
        return inspect.not_found(job_id)
    if verdict == Stored.FAILED:
        return (
            f"job {job_id!r} cannot be replayed: its arguments are gone, as dead letters are kept "
            "for 7 days, and at most 10,000 of them; enqueue it anew"
        )
    return f"job {job_id!r} is no dead letter: it is {public_state(verdict)}, not FAILURE"
