"""Fire schedules: make each occurrence a job, once, whoever else does so too.

Every worker runs this, and none leads.  All wake when something is due, each proposes what to do
with the occurrence, and the server takes the first proposal; the others have asked in vain.  So any
of them may die at any moment, and as long as one lives nothing is late.

Nothing is polled: a pass says when the next one is, and whoever changes a schedule tells everybody.
Only a look now and then guards against a server whose clock was moved.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from aioq.broker import schedules
from aioq.broker.broker import Broker
from aioq.broker.keys import split_lane
from aioq.broker.schedules import ENOUGH, FIRES_PER_CALL, Due, DueSchedule, Fire
from aioq.broker.weather import Weather
from aioq.core.clock import from_ms
from aioq.core.errors import BrokerFull
from aioq.core.recurring import (
    Definition,
    Step,
    UnknownDefinition,
    decode,
    jitter,
    job_id,
    steps,
    version_of,
)
from aioq.core.retry import reconnect_delay
from aioq.observe.outage import Outage

log: logging.Logger = logging.getLogger("aioq.scheduler")

LOOK_AGAIN = 10.0
"""Seconds between two passes at most, while there are schedules."""
LOOK_FOR_ANY = 60.0
"""The same while there are none."""
WARN_EVERY = 60.0
"""Seconds between two looks whether anybody serves a queue."""
FULL_PAUSE = 1.0
"""Seconds between two tries at a full server."""
_DONE, _OVERLAP = "K", "O"


class Proposal(NamedTuple):
    """What one call proposes, and when the next pass is due."""

    fires: list[Fire]
    steps: list[Step]
    """Of each fire."""
    next_ms: int
    """0: nothing will be due."""


class Scheduler:
    """Fires the schedules of an app, also those of other sources than its own.

    Args:
        broker: the way to the server.
        outage: told when the server is away.
        source: whose code has brought schedules; "": nobody's.
        bring: brings them again, to a server that has lost them.
    """

    def __init__(
        self,
        broker: Broker,
        outage: Outage,
        *,
        source: str = "",
        bring: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._broker = broker
        self._outage = outage
        self._source = source if bring else ""
        self._bring = bring
        self._news = asyncio.Event()
        self._unknown: set[tuple[str, bytes]] = set()
        self._is_full = False
        self._asked: dict[str, float] = {}

    async def run(self) -> None:
        """Fire until cancelled."""
        failures = 0
        while True:
            self._news.clear()
            try:
                pause = await self.fire()
                failures = 0
                self._outage.cleared()
            except BrokerFull as error:
                self._note_full(error)
                pause = FULL_PAUSE
            except Weather as error:
                self._outage.turned(error)
                pause = reconnect_delay(failures)
                failures += 1
            await self._rest(pause)

    def wake(self) -> None:
        """Look again now: schedules have changed, or may have."""
        self._news.set()

    async def fire(self) -> float:
        """Fire what is due, one call's worth; return the seconds until the next pass."""
        due = await self._look()
        if due.has_forgotten and self._bring is not None:
            log.warning("The server has lost its schedules; those of the code are brought again.")
            await self._bring()
            due = await self._look()
        proposal = self._propose(due)
        if proposal.fires:
            call = schedules.fire(
                self._broker.keys.prefix, count=len(proposal.fires), fires=proposal.fires
            )
            verdicts = await self._broker.run(call)
            self._is_full = False
            self._tell(proposal, verdicts)
            await self._warn_unserved(proposal, verdicts)
        if not proposal.next_ms:
            return LOOK_FOR_ANY
        if not proposal.fires and proposal.next_ms <= due.now_ms:
            return LOOK_AGAIN  # whatever is due is left to newer workers
        return min(max(proposal.next_ms - due.now_ms, 0) / 1000, LOOK_AGAIN)

    async def _look(self) -> Due:
        prefix = self._broker.keys.prefix
        return await self._broker.run(
            schedules.due(prefix, most=FIRES_PER_CALL, source=self._source)
        )

    def _propose(self, due: Due) -> Proposal:
        """Decide on what is due, as much of it as one call takes."""
        fires: list[Fire] = []
        taken: list[Step] = []
        next_ms, size = due.next_ms, 0
        for each in due.schedules:
            following = 0
            for fire, step in self._fires_of(each, due.now_ms):
                if len(fires) == FIRES_PER_CALL or size > ENOUGH:
                    return Proposal(fires, taken, due.now_ms)
                fires.append(fire)
                taken.append(step)
                size += len(fire.payload)
                following = step.next_ms
            if following:
                next_ms = min(next_ms or following, following)
        return Proposal(fires, taken, next_ms)

    def _fires_of(self, due: DueSchedule, now_ms: int) -> Iterator[tuple[Fire, Step]]:
        try:
            definition = decode(due.definition)
        except UnknownDefinition as error:
            self._note_unknown(due, error)
            return
        version = version_of(due.definition)
        for step in steps(definition, due.occurrence_ms, now_ms):
            yield _fire(due.name, definition, version, step), step

    def _note_unknown(self, due: DueSchedule, error: UnknownDefinition) -> None:
        if (due.name, due.definition) not in self._unknown:
            self._unknown.add((due.name, due.definition))
            log.error("The schedule %r is left to newer workers: %s.", due.name, error)

    def _note_full(self, error: BrokerFull) -> None:
        if not self._is_full:
            self._is_full = True
            log.error("Schedules are due and cannot be fired until there is room: %s.", error)

    def _tell(self, proposal: Proposal, verdicts: str) -> None:
        """Say what this call has done; what it was too late for is said by somebody else."""
        for fire, step, verdict in zip(proposal.fires, proposal.steps, verdicts, strict=True):
            if verdict == _OVERLAP:
                log.info(
                    "Schedule %s: no job for %s, because the one before has not ended.",
                    fire.name,
                    _moment(step.occurrence_ms),
                )
            elif verdict == _DONE and step.is_missed:
                log.warning(
                    "Schedule %s: missed from %s until %s, because no worker was there; no jobs "
                    "are made for that time.",
                    fire.name,
                    _moment(step.occurrence_ms),
                    _moment(step.next_ms),
                )
            elif verdict == _DONE:
                log.debug("Schedule %s: made job %s.", fire.name, fire.job_id)

    async def _warn_unserved(self, proposal: Proposal, verdicts: str) -> None:
        """Warn that nobody will run what this call has made, at most once a minute per queue."""
        fired = zip(proposal.fires, proposal.steps, verdicts, strict=True)
        lanes = {
            fire.lane: fire.name
            for fire, step, verdict in fired
            if verdict == _DONE and not step.is_missed
        }
        for lane, name in lanes.items():
            queue, now = split_lane(lane.partition(" ")[0])[0], time.monotonic()
            if now - self._asked.get(queue, -WARN_EVERY) < WARN_EVERY:
                continue
            self._asked[queue] = now
            if not await self._broker.command("EXISTS", self._broker.keys.service(queue)):
                log.warning(
                    "Schedule %s: no live worker serves its queue %r: its jobs wait until one is "
                    "started (aioq worker module:app --queues %s).",
                    name,
                    queue,
                    queue,
                )

    async def _rest(self, pause: float) -> None:
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
        except TimeoutError:
            pass


def _fire(name: str, definition: Definition, version: str, step: Step) -> Fire:
    occurrence_ms, next_ms, is_missed = step
    delay_ms = jitter(definition, name, occurrence_ms)
    # What it may wait counts from where it is due, or a short one would be over before.
    expires = definition.expires and f"+{int(definition.expires[1:]) + delay_ms}"
    return Fire(
        name=name,
        version=version,
        occurrence=occurrence_ms,
        next_ms=next_ms,
        op="m" if is_missed else "s" if definition.overlap == "skip" else "f",
        job_id=job_id(name, occurrence_ms),
        lane=definition.lane,
        task=definition.task,
        due=str(occurrence_ms + delay_ms) if delay_ms else "",
        expires=expires,
        payload=b"" if is_missed else definition.payload,
    )


def _moment(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="seconds" if ms % 1000 == 0 else "milliseconds")
