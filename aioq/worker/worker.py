"""One worker: builds the services and nests their lifetimes; nothing else.

Three scopes, each inside the next: intake brings work in, the executor holds the running jobs,
support outlives them.  Their order of exit is the shutdown.
"""

import asyncio
import logging
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import anyio
import msgspec

from aioq.broker.broker import Broker
from aioq.broker.inspect import Presence
from aioq.broker.scripts import Limit
from aioq.broker.weather import Weather
from aioq.core.clock import milliseconds
from aioq.core.errors import BrokerUnavailable, ConfigurationError
from aioq.core.options import Weight, queue_name
from aioq.core.settings import Settings
from aioq.observe.outage import Outage
from aioq.worker import startup
from aioq.worker.consumer import Consumer
from aioq.worker.executor import Executor
from aioq.worker.identity import Identity
from aioq.worker.lanes import Lanes
from aioq.worker.lease import LeaseKeeper
from aioq.worker.listener import Listener
from aioq.worker.reconciling import declaring, reconcile
from aioq.worker.runners import Processes, Threads
from aioq.worker.scheduler import Scheduler
from aioq.worker.settler import Settler

if TYPE_CHECKING:
    from aioq.app import Aioq

log: logging.Logger = logging.getLogger("aioq.worker")

DRAIN_REPORT = 5.0
"""Seconds between two lines of the log while a worker waits for its jobs."""
FLUSH = 10.0
"""Seconds that leaving may take to write the last outcomes."""
GOODBYE = 3.0
"""Seconds for which a worker that leaves tries to say so."""


class Worker:
    """Runs the jobs of an app in the current event loop.

    Args:
        app: whose tasks to run.
        concurrency: jobs at the same time; default: `Settings.concurrency`.
        queues: which queues to serve, the first ones first, or a table of their weights; default:
            all that the tasks, routes and schedules name, and the default one.
        burst: leave when nothing is ready or running.
        scheduler: take part in firing schedules.

    Raises:
        ConfigurationError: an argument is out of range.
    """

    def __init__(
        self,
        app: "Aioq",
        *,
        concurrency: int | None = None,
        queues: Sequence[str] | Mapping[str, int] | None = None,
        burst: bool = False,
        scheduler: bool = True,
    ) -> None:
        self.app = app
        self.settings: Settings = app.settings
        self.concurrency: int = _checked(concurrency, self.settings.concurrency)
        self.burst = burst
        self.fires_schedules = scheduler
        self._queues = _checked_queues(queues) or self.settings.queues
        self.identity: Identity = Identity()
        self.started: asyncio.Event = asyncio.Event()
        """Set once the worker takes jobs."""
        self.may_lose_jobs: bool = False
        """Whether its server may forget everything, as that of a test does."""
        self.has_left: bool = False
        """Whether it has run and left."""
        self.on_registered: Callable[[str], None] | None = None
        """Told the name of each incarnation; a supervisor can have its jobs reaped by it."""
        self._draining = asyncio.Event()
        self._is_patient = False
        self._services: _Services | None = None
        self._declaring: asyncio.Task[None] | None = None
        self._scheduled: frozenset[str] | None = None
        self._started_at_ms = time.time_ns() // 1_000_000

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues this worker serves."""
        if self._queues is not None:
            return tuple(dict.fromkeys(self._queues))
        named = {task.definition.queue for task in self.app.tasks.values()}
        for route in self.settings.task_routes.values():
            named.add(route if isinstance(route, str) else route.get("queue"))
        for annotation in self.settings.task_annotations.values():
            named.add(annotation.get("queue"))
        if self._scheduled is None:
            self._scheduled = self.app.scheduled_queues()
        named |= self._scheduled
        rest = sorted(name for name in named if name and name != self.settings.default_queue)
        return (self.settings.default_queue, *rest)

    @property
    def weights(self) -> dict[str, int]:
        """How often each queue goes first; empty: they go in their order."""
        return dict(self._queues) if isinstance(self._queues, Mapping) else {}

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return self._services.executor.count if self._services else 0

    @property
    def url(self) -> str:
        """The server it works on, without its password."""
        return self.app.client.topology.url

    @property
    def done(self) -> int:
        """How many outcomes of jobs it has written."""
        return self._services.settler.done if self._services else 0

    def drain(self, *, patient: bool = False) -> None:
        """Take no more jobs, wait for those that run within the grace, then leave.

        Args:
            patient: wait for however long they run. Draining again ends the patience: the grace
                counts from then on.
        """
        if patient:
            self._is_patient = not self._draining.is_set()
        elif self._is_patient:
            self._is_patient = False
            asyncio.get_running_loop().call_later(self.settings.grace, self.stop)
        self._draining.set()

    def stop(self) -> None:
        """Leave now: the jobs that run are cancelled and given back."""
        if self._services is not None:
            self._services.executor.hurry()
        self._draining.set()

    async def run(self) -> None:
        """Run until `drain()` or `stop()` is called, or this is cancelled.

        Raises:
            BrokerUnavailable: the server stayed away for `Settings.startup_timeout`, refuses what
                a worker needs, or is not fit for jobs.
            ConfigurationError: a task cannot be run as it is declared.
        """
        self.app.load()
        if not self.app.tasks:
            log.warning("The app %r has no tasks; its jobs will wait.", self.app.name)
        self._scheduled = self.app.scheduled_queues()
        services = _Services(self)
        services.executor.prepare(self.app.tasks)
        await startup.check(services.broker, self.settings, may_lose=self.may_lose_jobs)
        await self.app.limits.declare(patience=self.settings.startup_timeout)
        if self.fires_schedules:
            patience = self.settings.startup_timeout
            await reconcile(self.app, services.broker, patience=patience)
        await services.keeper.register(patience=self.settings.startup_timeout)
        self._services = services
        async with AsyncExitStack() as stack:
            lifespan = self.app.enter_lifespan()
            if lifespan is not None:
                services.executor.state = await stack.enter_async_context(lifespan)
            await self._serve(services)
        self.has_left = True

    async def _serve(self, services: "_Services") -> None:
        services.keeper.start()
        try:
            async with anyio.create_task_group() as support:
                support.start_soon(services.listener.run)
                async with services.executor as jobs:
                    await self._take_jobs(services)
                    jobs.grace = None if self._is_patient else self.settings.grace
                    if jobs.count:
                        support.start_soon(self._report_drain, jobs)
                support.cancel_scope.cancel()
        finally:
            if self._declaring is not None:
                self._declaring.cancel()
            with anyio.move_on_after(FLUSH, shield=True) as flushing:
                await services.settler.finished()
                services.keeper.stop()
                await self._leave(services)
            if flushing.cancelled_caught:
                log.error(
                    "%d outcomes could not be written in %g s; those jobs will run again.",
                    services.settler.unsettled,
                    FLUSH,
                )
            services.keeper.stop()

    async def _take_jobs(self, services: "_Services") -> None:
        """Bring work in until this worker drains."""
        async with anyio.create_task_group() as intake:
            intake.start_soon(services.consumer.run)
            if self.fires_schedules:
                intake.start_soon(services.scheduler.run)
            if self.burst:
                intake.start_soon(self._drain_when_idle)
            self.started.set()
            await self._draining.wait()
            intake.cancel_scope.cancel()

    async def _report_drain(self, jobs: Executor) -> None:
        """Say what the worker waits for, again and again."""
        ends = None if jobs.grace is None else time.monotonic() + jobs.grace
        while jobs.count:
            left = "as long as they take" if ends is None else f"{ends - time.monotonic():.0f} s"
            log.info("Draining: %d jobs have %s to end: %s.", jobs.count, left, jobs.described())
            await asyncio.sleep(DRAIN_REPORT)

    async def _leave(self, services: "_Services") -> None:
        """Say goodbye; unheard, the lease would run on, and count what is held as a crash."""
        broker, name = services.broker, self.identity.name
        try:
            await broker.through_weather(lambda: broker.leave(name), patience=GOODBYE)
        except BrokerUnavailable as error:
            log.warning("Could not say goodbye: %s.", error)

    async def run_until_idle(self) -> None:
        """Return once nothing is ready or running in this worker's queues.

        Jobs that are delayed, or held by a limit, do not count.
        """
        await self.started.wait()
        services = self._services
        if services is None:
            message = "run_until_idle() needs a worker that runs: start worker.run() first"
            raise ConfigurationError(message)
        while True:
            await services.settler.finished()
            waiting = await services.broker.backlog(services.lanes.all)
            # Asked last: a job may have been handed out while the server counted.
            starting = services.consumer.is_fetching or services.executor.count
            if not (waiting or starting or services.settler.unsettled):
                return
            # Something runs, or is about to: the next look is cheap, and nobody else waits for it.
            await asyncio.sleep(0.005)

    async def _drain_when_idle(self) -> None:
        while True:
            try:
                await self.run_until_idle()
                break
            except Weather:
                await asyncio.sleep(0.1)
        self.drain()

    def declare_again(self) -> None:
        """Say again which limits there are: a server that lost a lease may have lost all."""
        self._declaring = asyncio.create_task(self.app.limits.declare(patience=None))

    def presence(self) -> bytes:
        """What this worker says of itself with every beat."""
        return msgspec.msgpack.encode(
            Presence(
                worker=self.identity.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=platform.python_version(),
                app=self.app.name,
                queues=self.queues,
                concurrency=self.concurrency,
                running=self.running,
                done=self.done,
                started_at_ms=self._started_at_ms,
            )
        )


class _Services:
    """The services of one run of a worker, wired to each other by what they need."""

    def __init__(self, worker: Worker) -> None:
        app, settings = worker.app, worker.settings
        outage = Outage()
        self.broker: Broker = app.client.broker()
        # Room for what runs and as much again, so that a slow server holds the worker back.
        self.settler = Settler(self.broker, outage, most=max(2 * worker.concurrency, 1000))
        self.executor = Executor(
            app,
            self.broker,
            self.settler.settle,
            concurrency=worker.concurrency,
            threads=Threads(settings.threads),
            processes=Processes(settings.process_workers),
        )
        self.keeper = LeaseKeeper(
            self.broker,
            worker.identity,
            lease=settings.lease,
            queues=worker.queues,
            limits=[Limit(name, task.definition.crash_limit) for name, task in app.tasks.items()],
            events=settings.events,
            presence=worker.presence,
        )
        self.lanes = Lanes(worker.weights or worker.queues)
        self.consumer = Consumer(
            self.broker,
            self.executor,
            self.settler,
            worker.identity,
            outage,
            lanes=self.lanes,
            keep_ms=milliseconds(settings.result_expires),
            lost=self.keeper.lost,
        )
        self.listener = Listener(self.broker, worker.identity, outage, revoke=self.executor.revoke)
        self.scheduler = Scheduler(
            self.broker,
            outage,
            source=declaring(app),
            bring=partial(reconcile, app, self.broker),
        )
        self.listener.on_news = self.scheduler.wake
        self.keeper.on_revokes = self.listener.revoked
        self.keeper.on_registered = worker.on_registered
        self.keeper.on_lost = [
            self.executor.lose,
            self.settler.drop,
            self.listener.renew,
            worker.declare_again,
        ]


def _checked(concurrency: int | None, default: int) -> int:
    if concurrency is None:
        return default
    if not 1 <= concurrency <= 100_000:
        message = f"concurrency={concurrency!r} is wrong: it is between 1 and 100000"
        raise ConfigurationError(message)
    return concurrency


def _checked_queues(
    queues: Sequence[str] | Mapping[str, int] | None,
) -> tuple[str, ...] | dict[str, int] | None:
    if queues is None:
        return None
    if isinstance(queues, str) or not queues:
        message = (
            f"queues={queues!r} is wrong: it is a list of names, such as ['default'], or a table "
            "of weights, such as {'default': 3, 'mail': 1}"
        )
        raise ConfigurationError(message)
    for name in queues:
        queue_name(name)
    if not isinstance(queues, Mapping):
        return tuple(dict.fromkeys(queues))
    for name, weight in queues.items():
        try:
            msgspec.convert(weight, Weight)
        except msgspec.ValidationError:
            message = f"{weight!r} is no weight for queue {name!r}: a whole number from 1 to 1000"
            raise ConfigurationError(message) from None
    return dict(queues)
