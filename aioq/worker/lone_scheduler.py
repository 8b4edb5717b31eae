"""A scheduler in a process of its own: it fires schedules and runs no jobs.

It holds no lease and serves no queue.  Any number of them may run, beside workers that fire too.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import anyio

from aioq.broker.server import ServerFacts
from aioq.core.settings import Settings
from aioq.observe.outage import Outage
from aioq.worker import startup
from aioq.worker.identity import Identity
from aioq.worker.listener import Listener
from aioq.worker.reconciling import declaring, reconcile
from aioq.worker.scheduler import Scheduler

if TYPE_CHECKING:
    from aioq.app import Aioq


class LoneScheduler:
    """Fires the schedules of an app in the current event loop."""

    running: int = 0
    """It runs no jobs."""

    def __init__(self, app: "Aioq") -> None:
        self.app = app
        self.settings: Settings = app.settings
        self.started: asyncio.Event = asyncio.Event()
        """Set once it fires schedules."""
        self._ended = asyncio.Event()

    def drain(self) -> None:
        """Leave."""
        self._ended.set()

    def stop(self) -> None:
        """Leave."""
        self._ended.set()

    async def run(self) -> None:
        """Run until `drain()` or `stop()` is called, or this is cancelled.

        Raises:
            BrokerUnavailable: the server stayed away for `Settings.startup_timeout`, refuses what
                a worker needs, or is not fit for jobs.
            ConfigurationError: a schedule in the code cannot work.
        """
        self.app.load()
        broker, outage, patience = self.app.client.broker(), Outage(), self.settings.startup_timeout
        await startup.check(broker, self.settings)
        await reconcile(self.app, broker, patience=patience)
        scheduler = Scheduler(
            broker, outage, source=declaring(self.app), bring=partial(reconcile, self.app, broker)
        )
        listener = Listener(broker, Identity(), outage, revoke=_runs_nothing)
        listener.on_news = scheduler.wake
        async with anyio.create_task_group() as services:
            services.start_soon(listener.run)
            services.start_soon(scheduler.run)
            self.started.set()
            await self._ended.wait()
            services.cancel_scope.cancel()

    async def glance(self) -> ServerFacts | None:
        """Look at the server once, for the banner; None: it does not answer now."""
        return await startup.glance(self.app.client.broker())


def _runs_nothing(job_id: bytes, entry_id: bytes | None) -> bool:  # noqa: ARG001 - as Revoke has it
    """Take no notice of a revoke, for no job runs here."""
    return True
