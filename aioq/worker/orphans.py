"""Give the jobs of workers whose end was seen to those that live, without waiting for a lease.

A thread of its own does it, so that a server that is away holds nobody up: it tries until the
server is back.  What it has not done when the process ends is done when the lease has ended.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from aioq.broker import sync
from aioq.broker.broker import reap
from aioq.broker.topology import parse
from aioq.broker.weather import Weather
from aioq.core.errors import AioqError
from aioq.core.retry import reconnect_delay

log: logging.Logger = logging.getLogger("aioq.worker")


class Incarnation(NamedTuple):
    """One name of a worker that has ended, and where it has lived."""

    url: str
    prefix: str
    worker: str
    is_crash: bool
    """False: its jobs have nothing to do with its end."""

    def reap(self) -> int:
        """Take over what it held; return how many jobs that were; one attempt.

        Raises:
            Weather: the server is away.
        """
        connection = sync.dial(parse(self.url, prefix=self.prefix))
        try:
            call = reap(self.prefix, self.worker, is_crash=self.is_crash, lease_ms=0)
            taken, rest = 0, True
            while rest:
                reaped = sync.run_on(connection, call)
                taken, rest = taken + reaped.taken, reaped.rest
            return taken
        finally:
            connection.disconnect()


class Orphans:
    """Reaps incarnations, one after the other, in the background.

    Args:
        reap: how one is reaped.
    """

    def __init__(self, reap: Callable[[Incarnation], int] = Incarnation.reap) -> None:
        self._reap = reap
        self._waiting: deque[Incarnation] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def reap(self, incarnation: Incarnation) -> None:
        """Have an incarnation reaped as soon as the server can be reached."""
        with self._changed:
            self._waiting.append(incarnation)
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="aioq-orphans", daemon=True)
            self._thread.start()

    def finished(self, patience: float) -> bool:
        """Wait until all are reaped; False: some were not, within `patience` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                incarnation = self._waiting[0]
            self._persist(incarnation)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _persist(self, incarnation: Incarnation) -> None:
        failures, name = 0, incarnation.worker
        while True:
            try:
                taken = self._reap(incarnation)
                break
            except Weather as weather:
                if failures == 0:
                    log.warning("The jobs of %s wait until the server is back: %s.", name, weather)
                time.sleep(reconnect_delay(failures))
                failures += 1
            except AioqError:
                log.exception("The jobs of %s wait until its lease has ended.", name)
                return
        if taken:
            log.warning("Took over %d jobs of %s: they run elsewhere.", taken, name)
