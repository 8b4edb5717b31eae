"""Wait for the ends of jobs: one subscription per process, however many wait.

The server notes in a job's record which clients wait, and tells only them.  A push may be lost
with its connection, so the truth stays in the record: after every new subscription all open
questions are asked again, and every few seconds in any case (G14).  Who watches a job is told in
the same way whenever it has streamed something.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import cast
from weakref import WeakSet

from aioq.broker import scripts
from aioq.broker.connection import Connection, dial
from aioq.broker.keys import Keys
from aioq.broker.per_turn import MOST, Line, PerTurn
from aioq.broker.resp import Reply, ReplyError
from aioq.broker.scripts import Call, End
from aioq.broker.topology import Topology
from aioq.broker.weather import Refused, Weather, judge
from aioq.core.errors import BrokerUnavailable
from aioq.core.retry import reconnect_delay

ASK_AGAIN = 5.0
"""Seconds between two looks at the jobs that are waited for, in case a push was lost."""
FIRST_PATIENCE = 5.0
"""Seconds a new question keeps trying before it fails; one that was registered never does."""


_STREAMED = "~"
"""What stands in place of an end where a job has streamed something."""


class Watch:
    """The eye of one reader on a job; it needs no goodbye, for it is held weakly."""

    __slots__ = ("__weakref__", "_bell", "_error", "end")

    def __init__(self) -> None:
        self.end: End | None = None
        """The end of the job, once it has come."""
        self._bell = asyncio.Event()
        self._error: BrokerUnavailable | None = None

    def clear(self) -> None:
        """Look at the job from now on."""
        self._bell.clear()

    async def heard(self) -> None:
        """Wait until something may have come of the job since `clear`.

        Raises:
            BrokerUnavailable: the app was closed.
        """
        await self._bell.wait()
        if self._error is not None:
            raise self._error

    def ring(self, *, end: End | None = None, error: BrokerUnavailable | None = None) -> None:
        """Say that something may have come of the job."""
        self.end = self.end or end
        self._error = self._error or error
        self._bell.set()


class Waiters:
    """All who wait for jobs on one event loop."""

    def __init__(self, topology: Topology, keys: Keys, line: Line) -> None:
        self._topology = topology
        self._prefix = keys.prefix
        self._client = secrets.token_hex(4)
        self._channel = keys.channel(self._client)
        self._line = line
        self._questions = PerTurn(line, self._call, patience=FIRST_PATIENCE)
        self._waiting: dict[str, list[asyncio.Future[End]]] = {}
        self._watches: dict[str, WeakSet[Watch]] = {}
        self._asking: set[asyncio.Future[End]] = set()
        self._subscription: Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()

    async def ask(self, job_id: str) -> End:
        """Return the end of a job as far as it has come, waiting for nothing."""
        call = scripts.wait(self._prefix, client="", job_ids=(job_id,))
        ends = await self._line.persist(call, patience=FIRST_PATIENCE)
        return ends[0]

    async def wait(self, job_id: str) -> End:
        """Return the end of a job when it has come; "" if nobody knows the job.

        Raises:
            BrokerUnavailable: the server could not be asked even once.
        """
        future: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, []).append(future)
        try:
            await self._subscribe()
            end = End("-", None) if future.done() else await self._question(job_id)
            if end.state == "-":
                end = await future
            return await self.ask(job_id) if end.state == "?" else end
        finally:
            self._leave(job_id, future)

    async def watch(self, job_id: str) -> Watch:
        """Return what is rung whenever the job has streamed something, and at its end.

        Raises:
            BrokerUnavailable: the server could not be asked even once.
        """
        watch = Watch()
        self._watches.setdefault(job_id, WeakSet()).add(watch)
        await self._subscribe()
        end = await self._question(job_id)
        if end.state != "-":
            watch.ring(end=end)
        return watch

    async def _question(self, job_id: str) -> End:
        question = self._questions.submit(job_id)
        self._asking.add(question)
        question.add_done_callback(self._asking.discard)
        return await question

    def drop(self) -> None:
        """Close the subscription; those who wait get a BrokerUnavailable."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if self._subscription is not None:
            self._subscription.drop()
        for future in [*self._asking, *(each for some in self._waiting.values() for each in some)]:
            if not future.done():
                future.set_exception(BrokerUnavailable("the app was closed while waiting"))
                future.exception()
        for watch in [each for some in self._watches.values() for each in some]:
            watch.ring(error=BrokerUnavailable("the app was closed while its stream was read"))
        self._watches.clear()
        self._questions.drop()

    def _leave(self, job_id: str, future: asyncio.Future[End]) -> None:
        future.cancel()
        others = self._waiting.get(job_id, [])
        if future in others:
            others.remove(future)
        if not others:
            self._waiting.pop(job_id, None)

    def _call(self, job_ids: Sequence[str]) -> Call[Sequence[End]]:
        call = scripts.wait(self._prefix, client=self._client, job_ids=job_ids)
        return cast("Call[Sequence[End]]", call)

    async def _subscribe(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._subscribed.clear()
            self._keeper = asyncio.create_task(self._keep())
        if self._subscribed.is_set():
            return
        keeper = self._keeper
        ready = asyncio.ensure_future(self._subscribed.wait())
        try:
            await asyncio.wait(
                {ready, keeper}, timeout=FIRST_PATIENCE, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
        if keeper.done() and not keeper.cancelled():
            keeper.result()  # a refusal is nobody else's to report

    async def _keep(self) -> None:
        """Hold the subscription, and ask again where a push may have been lost."""
        failures = 0
        while True:
            try:
                await self._hold()
            except (Weather, BrokerUnavailable) as error:
                # Refused at first, it is the caller's to know; later on, asking must do (G14).
                if isinstance(error, Refused) and not self._subscribed.is_set():
                    raise
                await asyncio.sleep(reconnect_delay(failures))
                failures += 1
                with suppress(Weather, BrokerUnavailable):
                    await self._ask_again()
            else:
                failures = 0
            finally:
                if self._subscription is not None:
                    self._subscription.drop()

    async def _hold(self) -> None:
        """Subscribe, and return when the subscription is lost."""
        lost = asyncio.Event()
        subscription = await dial(self._topology, on_push=self._hear, on_lost=lost.set)
        self._subscription = subscription
        try:
            await subscription.call("SUBSCRIBE", self._channel)
            self._subscribed.set()
            while not lost.is_set():
                await self._ask_again()
                try:
                    async with asyncio.timeout(ASK_AGAIN):
                        await lost.wait()
                except TimeoutError:
                    # A half-open connection would hear nothing for ever.
                    await subscription.call("PING")
        except ReplyError as error:
            raise judge(error) from None

    async def _ask_again(self) -> None:
        self._watches = {job_id: some for job_id, some in self._watches.items() if some}
        open_questions = list({**self._waiting, **self._watches})
        for start in range(0, len(open_questions), MOST):
            job_ids = open_questions[start : start + MOST]
            ends = await self._line.persist(self._call(job_ids), patience=FIRST_PATIENCE)
            for job_id, end in zip(job_ids, ends, strict=True):
                if end.state != "-":
                    self._tell(job_id, end)
        for watch in [each for some in self._watches.values() for each in some]:
            watch.ring()

    def _hear(self, push: list[Reply]) -> None:
        job_id, end = scripts.parse_news(push[2])
        self._tell(job_id, end)

    def _tell(self, job_id: str, end: End) -> None:
        for watch in list(self._watches.get(job_id, ())):
            watch.ring(end=None if end.state == _STREAMED else end)
        if end.state == _STREAMED:
            return
        for future in self._waiting.get(job_id, ()):
            if not future.done():
                future.set_result(end)
