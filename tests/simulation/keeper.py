"""The lease of a simulated worker; the rules are those of `aioq/worker/lease.py`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from aioq.broker import scripts
from aioq.broker.broker import DEAD_LETTERS
from aioq.broker.scripts import Beaten, Call, Reaped
from aioq.core.outcome import KEEP_DEAD_MS
from tests.simulation.history import LEASE_MS
from tests.simulation.stories import Incarnation
from tests.simulation.tasks import LIMITS
from tests.simulation.turns import Hear, Lost, Pause, Signal, Turn

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

TIMEOUT_MS = 5_000
STALLED = 2
"""Leases for which the event loop may stand still."""
PER_CALL = 4
"""Deliveries that one call takes over: few, so that the bound is met often."""


class Keeper:
    """Registers, beats, and reaps whoever is overdue."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._registered = ""
        self._turned_ms = 0.0
        self._reborn = Signal()
        self._is_being_reborn = False
        self._names = 0
        self.on_lost: list[Callable[[], None]] = []

    def register(self) -> Turn[None]:
        """Ask for the lease of the first incarnation."""
        yield from self._take_name(self._another())
        yield from self._begin()

    def _another(self) -> str:
        self._names += 1
        return f"{self._worker.name}.{self._names}"

    def _take_name(self, name: str) -> Turn[None]:
        worker = self._worker
        incarnations = worker.history.incarnations
        if worker.incarnation:
            incarnations[worker.incarnation].is_replaced = True
        incarnations[name] = Incarnation(name, worker)
        call = scripts.register(worker.prefix, worker=name, lease_ms=LEASE_MS, limits=LIMITS)
        yield from worker.persist(call, name, LIMITS)
        worker.incarnation = name  # not before: nothing may be done under a name without a lease

    def _begin(self) -> Turn[None]:
        worker, name = self._worker, self._worker.incarnation
        yield from worker.persist(self._beat(name), name)
        self._registered = name

    def lost(self, name: str) -> Turn[None]:
        """Begin a new incarnation, if the one of this name is still the present one."""
        while self._is_being_reborn:
            yield Hear((self._reborn,))
        if self._worker.incarnation != name:
            return
        self._is_being_reborn = True
        self._registered = ""
        yield from self._take_name(self._another())
        self._worker.history.figures["new identities"] += 1
        for drop in self.on_lost:
            drop()
        yield from self._begin()
        self._is_being_reborn = False
        self._reborn.fire()

    def turn(self) -> Turn[None]:
        """Show that the event loop turns."""
        while True:
            self._turned_ms = self._worker.turns.now_ms
            yield Pause(LEASE_MS / 3)

    def keep(self) -> Turn[None]:
        """Beat until cancelled; a thread."""
        failures = 0
        pause = 0.0
        while True:
            yield Pause(pause)
            pause = LEASE_MS / 3
            if self._worker.turns.now_ms - self._turned_ms > STALLED * LEASE_MS:
                continue
            try:
                yield from self._look_after()
                failures = 0
            except Lost:
                pause = self._worker.reconnect_delay(failures)
                failures += 1

    def _look_after(self) -> Turn[None]:
        name, worker = self._registered, self._worker
        if not name:  # between two incarnations
            return
        beaten = yield from worker.ask(self._beat(name), name, timeout_ms=TIMEOUT_MS)
        if not beaten.alive:
            worker.spawn("rebirth", self.lost(name))
            return
        if beaten.revokes:
            worker.spawn("orders", self._order(beaten.revokes))
        rest = beaten.overdue > 0
        while rest:
            call = reap_call(worker.prefix)
            rest = (yield from worker.ask(call, "", True, timeout_ms=TIMEOUT_MS)).rest  # noqa: FBT003 - the script's

    def _order(self, revokes: list[tuple[bytes, bytes]]) -> Turn[None]:
        """Revoke in the event loop."""
        yield Pause(0)
        for entry_id, job_id in revokes:
            self._worker.executor.revoke(entry_id, job_id)

    def _beat(self, name: str) -> Call[Beaten]:
        worker = self._worker
        queues = worker.post.queues
        return scripts.beat(
            worker.prefix, worker=name, lease_ms=LEASE_MS, presence=b"{}", queues=queues
        )


def reap_call(prefix: str, worker: str = "", *, is_crash: bool = True) -> Call[Reaped]:
    """Return the call that takes over what is left of a worker, or of all that are overdue."""
    return scripts.reap(
        prefix,
        worker=worker,
        is_crash=is_crash,
        lease_ms=0 if worker else LEASE_MS,
        most=PER_CALL,
        dead_ms=KEEP_DEAD_MS,
        dead_max=DEAD_LETTERS,
    )
