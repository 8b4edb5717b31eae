"""Keep the lease of this worker, from a thread of its own, and watch those of the others.

While a worker lives, its lease is renewed; if renewals stop, its jobs are given to others.  A
thread with its own connection renews it, because an event loop that a task blocks is no death.
Only a loop that has not turned for two leases is given up: its stacks are written out, and the
lease is let go, so that its jobs run elsewhere.

Silence of the server proves nothing and cancels nothing.  When it is back it decides: either the
lease is still there, and all goes on; or somebody has reaped it.  An incarnation that was reaped
never comes back: the worker takes a new name first, and then drops what it ran under the old one,
whose every word would be refused.

The same thread reaps: each beat says how many workers are overdue.
"""

import asyncio
import faulthandler
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aioq.broker import scripts, sync
from aioq.broker.broker import Broker, reap
from aioq.broker.scripts import Beaten, Call, Limit
from aioq.broker.weather import Weather
from aioq.core.clock import milliseconds
from aioq.core.errors import AioqError
from aioq.core.retry import reconnect_delay
from aioq.worker.identity import Identity

log: logging.Logger = logging.getLogger("aioq.worker")

STALLED = 2
"""Leases for which the event loop may stand still."""

SECOND_LOOK = 0.2
"""Seconds between the first and the second look at a loop that seems to stand still."""


class LeaseKeeper:
    """Registers the worker and beats every third of the lease.

    Args:
        broker: the server.
        identity: the name of the present incarnation.
        lease: seconds a beat is good for.
        queues: those the worker serves.
        limits: deaths of a worker that the jobs of each task survive.
        presence: what the worker says of itself with every beat.
    """

    def __init__(
        self,
        broker: Broker,
        identity: Identity,
        *,
        lease: float,
        queues: Sequence[str],
        limits: Iterable[Limit],
        events: bool = False,
        presence: Callable[[], bytes],
    ) -> None:
        self._broker = broker
        self._identity = identity
        self._lease = lease
        self._queues = queues
        self._limits = list(limits)
        self._events = events
        self._presence = presence
        self._loop = asyncio.get_running_loop()
        self._turned = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._rebirth = asyncio.Lock()
        self._rebirths: set[asyncio.Task[None]] = set()
        self._registered = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="aioq-lease", daemon=True)
        self.on_lost: list[Callable[[], None]] = []
        """Called in the loop, under the new name, when the old one was reaped."""
        self.on_registered: Callable[[str], None] | None = None
        """Told each new name."""
        self.on_revokes: Callable[[list[tuple[bytes, bytes]]], None] | None = None
        """Told in the loop which running jobs were revoked, by entry id and job id."""

    async def register(self, *, patience: float | None = None) -> None:
        """Ask for the lease of the first incarnation.

        Raises:
            BrokerUnavailable: the server stayed away for `patience` seconds.
        """
        await self._take_name(self._identity.name, patience)
        await self._begin(patience)

    async def _take_name(self, name: str, patience: float | None = None) -> None:
        call = scripts.register(
            self._broker.keys.prefix,
            worker=name,
            lease_ms=milliseconds(self._lease),
            events=self._events,
            limits=self._limits,
        )
        await self._broker.persist(call, patience=patience)
        self._identity.name = name  # not before: nothing may be done under a name without a lease

    async def _begin(self, patience: float | None = None) -> None:
        name = self._identity.name
        await self._broker.persist(self._beat(name), patience=patience)
        self._registered = name
        if self.on_registered is not None:
            self.on_registered(name)

    def start(self) -> None:
        """Start renewing."""
        self._turn()
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing; the thread ends by itself."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._rebirths:
            task.cancel()

    async def lost(self, name: str) -> None:
        """Begin a new incarnation, if the one of this name is still the present one."""
        async with self._rebirth:
            if self._identity.name != name or self._stopped.is_set():
                return
            self._registered = ""
            await self._take_name(self._identity.another())
            # At once: what is fetched from here on belongs to the new incarnation.
            for drop in self.on_lost:
                drop()
            await self._begin()
            log.error(
                "The lease of %s was lost: others have its jobs. Going on as %s.",
                name,
                self._identity.name,
            )

    def _beat(self, name: str) -> Call[Beaten]:
        return scripts.beat(
            self._broker.keys.prefix,
            worker=name,
            lease_ms=milliseconds(self._lease),
            presence=self._presence(),
            queues=self._queues,
        )

    def _turn(self) -> None:
        """Show the thread that the loop turns."""
        self._turned = time.monotonic()
        self._timer = self._loop.call_later(self._lease / 3, self._turn)

    def _keep(self) -> None:
        connection: Any = None
        failures, pause, stalled = 0, 0.0, 0
        # A half-open connection must leave time for a second try within the lease.
        timeout = max(min(5.0, self._lease / 3), 0.5)
        while not self._stopped.wait(pause):
            pause = self._lease / 3
            if time.monotonic() - self._turned > STALLED * self._lease:
                stalled += 1
                if stalled == 1:  # the whole process may have stood still, and the loop turns soon
                    pause = SECOND_LOOK
                elif stalled == 2:
                    self._let_go()
                continue
            stalled = 0
            try:
                if connection is None:
                    connection = sync.dial(self._broker.topology, timeout=timeout)
                self._look_after(connection)
                failures = 0
            except Weather:  # said once for the whole worker by the consumer
                # A backoff that outgrew the lease would lose it to an outage shorter than it.
                pause = min(reconnect_delay(failures), self._lease / 10)
                connection = _closed(connection)
                failures += 1
            except AioqError:
                log.exception("The lease could not be renewed.")
                connection = _closed(connection)
        _closed(connection)

    def _look_after(self, connection: Any) -> None:  # noqa: ANN401 - redis-py's connection
        """Beat once, pass on what that brings, and reap if somebody is overdue."""
        name = self._registered
        if not name:  # between two incarnations
            return
        beaten = sync.run_on(connection, self._beat(name))
        if not beaten.alive:
            # Nothing is noted here: the loop may have gone on under another name meanwhile.
            self._in_loop(self._begin_anew, name)
            return
        if beaten.revokes and self.on_revokes is not None:
            self._in_loop(self.on_revokes, beaten.revokes)
        rest = beaten.overdue > 0
        while rest and not self._stopped.is_set():
            call = reap(self._broker.keys.prefix, lease_ms=milliseconds(self._lease))
            reaped = sync.run_on(connection, call)
            rest = reaped.rest
            if reaped.taken or reaped.workers:
                log.warning(
                    "Took over %d jobs of dead workers; reaped: %s.",
                    reaped.taken,
                    ", ".join(reaped.workers) or "none to the end yet",
                )

    def _let_go(self) -> None:
        log.critical(
            "The event loop has not turned for %g s: a task blocks it. The lease is let go, so "
            "that the jobs of this worker run elsewhere; all stacks follow.",
            STALLED * self._lease,
        )
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)

    def _begin_anew(self, name: str) -> None:
        task = self._loop.create_task(self.lost(name))
        self._rebirths.add(task)
        task.add_done_callback(self._rebirths.discard)

    def _in_loop(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed: the worker has left
            self._stopped.set()


def _closed(connection: Any) -> None:  # noqa: ANN401 - redis-py's connection
    if connection is not None:
        connection.disconnect()
