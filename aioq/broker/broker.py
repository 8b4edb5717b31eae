"""The write side: every call that changes a job, on the connections of one event loop.

Each call may be sent again, because each script recognises its own repetition; so weather is
met by asking again for as long as the caller allows, and only here.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar, cast

from aioq.broker import scripts
from aioq.broker.connection import REPLY_TIMEOUT, Connection, dial
from aioq.broker.enqueued import EachEnqueued
from aioq.broker.events import Feed
from aioq.broker.keys import Keys
from aioq.broker.per_turn import PerTurn
from aioq.broker.resp import Argument, Reply, ReplyError
from aioq.broker.scripts import Call, Delivery, Fetched, NewJob, Settlement, Update
from aioq.broker.topology import Topology
from aioq.broker.waiters import Waiters
from aioq.broker.weather import Weather, judge
from aioq.core.errors import BrokerUnavailable
from aioq.core.outcome import KEEP_DEAD_MS
from aioq.core.retry import reconnect_delay

T = TypeVar("T")

DEAD_LETTERS = 10_000
"""Dead letters kept; the oldest go first."""
PER_CALL = 250
"""Deliveries that one call takes over or gives back."""
ASK_WHO_SERVES = 1.0
"""Seconds between two questions whether a live worker serves a queue."""
_FORGOTTEN = "NOSCRIPT"


class Broker:
    """The server, as seen from one event loop; opens its connections when they are needed."""

    def __init__(self, topology: Topology, keys: Keys, *, enqueue_timeout: float) -> None:
        self.topology = topology
        self.keys = keys
        self.enqueue_timeout = enqueue_timeout
        self._prefix = keys.prefix
        self._connection: Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, float] = {}
        self._dialing: asyncio.Task[Connection] | None = None
        # Half of what an enqueue has: a half-open connection leaves it the time for a second try.
        self._reply_timeout = min(REPLY_TIMEOUT, max(enqueue_timeout / 2, 0.1))
        self._guard: AsyncGenerator[None] | None = None
        self._new_jobs = PerTurn(self, self._enqueue_each, patience=enqueue_timeout)
        self._updates = PerTurn(self, self._updates_call, patience=enqueue_timeout)
        self.waiters: Waiters = Waiters(topology, keys, self)
        self.events: Feed = Feed(topology, keys, self)

    @property
    def connection(self) -> Connection | None:
        """The shared connection, if it is open."""
        return self._connection

    def enqueue(self, job: NewJob) -> asyncio.Future[EachEnqueued]:
        """Create one job, in one call with all others of this turn.

        Returns:
            A future of whether this call made the job, of queues that nobody serves, and of the
            job that is there in its place.  It raises BrokerUnavailable when the server stayed
            away for `enqueue_timeout`, and BrokerFull when it is full.
        """
        return self._new_jobs.submit(job)

    async def enqueue_batch(self, jobs: Sequence[NewJob]) -> scripts.Enqueued:
        """Create at most 250 jobs in one call; see `enqueue`."""
        ask = self._asks_who_serves(jobs)
        call = scripts.enqueue(self._prefix, count=len(jobs), ask=ask, jobs=jobs)
        return await self.persist(call, patience=self.enqueue_timeout)

    def _enqueue_each(self, jobs: Sequence[NewJob]) -> Call[Sequence[EachEnqueued]]:
        ask = self._asks_who_serves(jobs)
        return scripts.enqueue_each(self._prefix, count=len(jobs), ask=ask, jobs=jobs)

    def _asks_who_serves(self, jobs: Sequence[NewJob]) -> bool:
        """Whether to ask again, once a second per lane, if anybody serves the queues."""
        now, asked, ask = self._loop.time(), self._asked, False
        for job in jobs:
            lane = job.lane.partition(" ")[0]  # without the holds of the job
            if now >= asked.get(lane, 0.0):
                asked[lane] = now + ASK_WHO_SERVES
                ask = True
        return ask

    async def fetch(
        self, worker: str, *, epoch: int = 0, room: int, keep_ms: int, lanes: Sequence[str]
    ) -> Fetched:
        """Promote what is due and take up to `room` jobs; one attempt."""
        return await self.run(
            scripts.fetch(
                self._prefix, worker=worker, epoch=epoch, room=room, keep_ms=keep_ms, lanes=lanes
            )
        )

    async def recover(self, worker: str, *, epoch: int, known: Sequence[bytes]) -> int:
        """Give back what a lost reply had handed out; one attempt.

        Returns:
            How many deliveries were given back; as many as `PER_CALL`: call again, with another
            epoch.
        """
        return await self.run(
            scripts.recover(self._prefix, worker=worker, epoch=epoch, most=PER_CALL, known=known)
        )

    async def settle(self, outcomes: Sequence[Settlement], *, dead_ms: int) -> str:
        """Settle at most 250 deliveries; one letter each, see `settle.lua`; one attempt."""
        return await self.run(
            scripts.settle(
                self._prefix,
                count=len(outcomes),
                dead_ms=dead_ms,
                dead_max=DEAD_LETTERS,
                outcomes=outcomes,
            )
        )

    async def update(self, delivery: Delivery, mark: str, progress: bytes = b"") -> bool:
        """Note something on a running delivery; False: it is not ours any more."""
        noted = Update(delivery.job_id, delivery.entry_id, mark, progress)
        return await self._updates.submit(noted)

    def _updates_call(self, updates: Sequence[Update]) -> Call[Sequence[bool]]:
        call = scripts.update(self._prefix, count=len(updates), updates=updates)
        return cast("Call[Sequence[bool]]", call)

    async def look(self, job_id: str) -> scripts.Looked:
        """Read all that is known of one job."""
        return await self.persist(
            scripts.look(self._prefix, job_id=job_id), patience=self.enqueue_timeout
        )

    async def backlog(self, lanes: Sequence[str]) -> int:
        """Count jobs that wait in these lanes for a worker, and delayed ones that are due."""
        return await self.run(scripts.backlog(self._prefix, lanes=lanes))

    async def revoke(self, job_ids: Sequence[str], *, at_once: bool, keep_ms: int) -> list[bool]:
        """End at most 250 jobs on request; False: it is unknown, or has ended."""
        flags = await self.revoke_flags(job_ids, at_once=at_once, keep_ms=keep_ms)
        return [bool(flag & 1) for flag in flags]

    async def revoke_flags(
        self, job_ids: Sequence[str], *, at_once: bool, keep_ms: int
    ) -> list[int]:
        """End at most 250 jobs on request; see `scripts.revoke` for the bits."""
        call = scripts.revoke(self._prefix, at_once=at_once, keep_ms=keep_ms, job_ids=job_ids)
        return await self.persist(call, patience=self.enqueue_timeout)

    async def leave(self, worker: str) -> None:
        """Say goodbye: the lease and the consumers go, and what is still held is given back."""
        rest = True
        while rest:
            rest = (await self.run(reap(self._prefix, worker, is_crash=False, lease_ms=0))).rest

    async def ring(self, queue: str) -> None:
        """Pass a doorbell token on."""
        await self.run(scripts.ring(self._prefix, queue=queue))

    async def command(self, *command: Argument) -> Reply:
        """Run one plain command; one attempt."""
        try:
            return await (await self._connected()).call(*command)
        except ReplyError as error:
            raise self._judged(error) from None

    async def run(self, call: Call[T]) -> T:
        """Run a script; one attempt.

        Raises:
            Weather: it may or may not have run; the same call may be sent again.
        """
        connection = self._connection or await self._connected()
        try:
            reply = await connection.call(*call.command)
        except ReplyError as error:
            if error.code != _FORGOTTEN:
                raise self._judged(error, call.script.name) from None
            reply = await self._teach(connection, call)
        return call.parse(reply)

    async def _teach(self, connection: Connection, call: Call[T]) -> Reply:
        """Send the source to a server that has lost it (restart, failover, SCRIPT FLUSH)."""
        try:
            return await connection.call(*call.full_command)
        except ReplyError as error:
            raise self._judged(error, call.script.name) from None

    async def persist(self, call: Call[T], *, patience: float | None) -> T:
        """Run a script, and again for up to `patience` seconds of weather (None: for ever).

        Raises:
            BrokerUnavailable: the weather did not pass in time.
        """
        return await self.through_weather(lambda: self.run(call), patience=patience)

    async def through_weather(
        self, attempt: Callable[[], Awaitable[T]], *, patience: float | None
    ) -> T:
        """Attempt something, and again for up to `patience` seconds of weather (None: for ever).

        Raises:
            BrokerUnavailable: the weather did not pass in time.
        """
        deadline = None if patience is None else self._loop.time() + patience
        failures = 0
        last: Weather | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline if patience else None):
                    return await attempt()
            except TimeoutError:
                reason = last or f"{self.topology.seeds[0]} does not answer"
                raise BrokerUnavailable(_gave_up(reason, patience)) from None
            except Weather as weather:
                last = weather
                pause = reconnect_delay(failures)
                failures += 1
                if deadline is not None and self._loop.time() + pause >= deadline:
                    raise BrokerUnavailable(_gave_up(weather, patience)) from None
            await asyncio.sleep(pause)

    async def connect(self) -> None:
        """Open the shared connection now.

        Raises:
            BrokerUnavailable: the server stayed away for `enqueue_timeout`.
        """
        await self.through_weather(lambda: self.command("PING"), patience=self.enqueue_timeout)

    async def aclose(self) -> None:
        """Close every connection; a later call opens them again."""
        await self._new_jobs.finished()
        await self._updates.finished()
        if self._guard is not None:
            await self._guard.aclose()
        self._drop()

    async def _connected(self) -> Connection:
        """Return the shared connection; whoever comes while it is being opened waits for it."""
        if self._connection is not None:
            return self._connection
        if self._dialing is None:
            self._dialing = asyncio.create_task(self._dial())
            self._dialing.add_done_callback(_dialed)
        # Shielded: a caller that is cancelled must not take the connection from the others.
        return await asyncio.shield(self._dialing)

    async def _dial(self) -> Connection:
        try:
            if self._guard is None:
                self._guard = self._until_the_loop_ends()
                await anext(self._guard)
            connection = await dial(
                self.topology, on_lost=self._forget, timeout=self._reply_timeout
            )
        finally:
            self._dialing = None
        self._connection = connection
        return connection

    async def _until_the_loop_ends(self) -> AsyncGenerator[None]:
        """Drop the connections when the loop shuts down, as `asyncio.run` does at its end."""
        with contextlib.suppress(GeneratorExit):
            yield
        self._drop()

    def _forget(self) -> None:
        self._connection = None

    def _drop(self) -> None:
        self._guard = None
        self.waiters.drop()
        self.events.drop()
        self._new_jobs.drop()
        self._updates.drop()
        if self._dialing is not None:
            self._dialing.cancel()
        if self._connection is not None:
            self._connection.drop()

    def _judged(self, error: ReplyError, script: str = "") -> Exception:
        """Judge an error reply; weather drops the connection, so that the server is looked up."""
        judged = judge(error, script=script)
        if isinstance(judged, Weather) and self._connection is not None:
            self._connection.drop(str(judged))
        return judged


def reap(
    prefix: str, worker: str = "", *, is_crash: bool = True, lease_ms: int
) -> Call[scripts.Reaped]:
    """Return the call that takes over what is left of a worker, or of all whose lease has ended."""
    return scripts.reap(
        prefix,
        worker=worker,
        is_crash=is_crash,
        lease_ms=lease_ms,
        most=PER_CALL,
        dead_ms=KEEP_DEAD_MS,
        dead_max=DEAD_LETTERS,
    )


def _dialed(task: "asyncio.Task[Connection]") -> None:
    if not task.cancelled():
        task.exception()  # whoever waits is told; nobody may be waiting any more


def _gave_up(weather: object, patience: float | None) -> str:
    return (
        f"{weather} (tried for {patience:g} s); "
        "start a server, for example with `aioq server`, or set AIOQ_URL"
    )
