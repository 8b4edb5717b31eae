"""A simulated worker process: the protocol of `aioq/worker`, without the asyncio around it.

Its services are in files named like those whose rules they follow, line by line where it matters.
What is left out is what no server ever sees: arguments, time limits, logs.
"""

from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.client import Client
from tests.simulation.consumer import Consumer
from tests.simulation.executor import Executor
from tests.simulation.keeper import Keeper, reap_call
from tests.simulation.scheduler import Scheduler
from tests.simulation.settler import Settler
from tests.simulation.turns import Hear, Lost, Signal, Turn

if TYPE_CHECKING:
    from tests.simulation.world import World

GRACE_MS = 25_000
FLUSH_MS = 10_000
GOODBYE_MS = 3_000


class Post(NamedTuple):
    """What a worker is started with."""

    name: str
    queues: tuple[str, ...]
    slots: int
    threads: int
    knows_all: bool
    """False: it is of an older release, and does not know the newest task."""


class Worker(Client):
    """One process; the rules are those of `aioq/worker/worker.py`."""

    def __init__(self, name: str, world: "World", post: Post) -> None:
        super().__init__(name, world)
        self.post = post
        self.incarnation = ""
        """The name under which it holds its lease."""
        self.is_kept = False
        """Whether its thread beats."""
        self.is_draining = False
        self.drained = Signal()
        self.keeper = Keeper(self)
        self.settler = Settler(self)
        self.executor = Executor(self)
        self.consumer = Consumer(self)
        self.scheduler = Scheduler(self)
        self.keeper.on_lost = [self.executor.lose, self.settler.drop]
        self.began_ms = self.turns.now_ms
        self.spawn("main", self._run())

    def drain(self) -> None:
        """Take no more jobs, wait for those that run, then leave."""
        self.is_draining = True
        self.drained.fire()

    def _run(self) -> Turn[None]:
        yield from self.keeper.register()
        self.spawn("turn", self.keeper.turn())
        keeping = self.spawn("keeper", self.keeper.keep(), in_loop=False)
        self.is_kept = True
        self.spawn("consumer", self.consumer.run())
        self.spawn("scheduler", self.scheduler.run())
        while not self.consumer.has_stopped:
            yield Hear((self.consumer.stopped,))
        yield from self._wait_for_jobs()
        self.executor.give_back()
        yield from self._wait_for_words()
        keeping.cancel()
        incarnation = self.history.incarnations[self.incarnation]
        incarnation.has_left, incarnation.gave_up = True, self.settler.unsettled > 0
        if not incarnation.gave_up:
            try:
                yield from self._leave()
            except Lost:
                incarnation.gave_up = True
        self.world.has_left(self)

    def _wait_for_jobs(self) -> Turn[None]:
        ends_ms = self.turns.now_ms + GRACE_MS
        while self.executor.count and self.turns.now_ms < ends_ms:
            yield Hear((self.executor.ended,), ends_ms - self.turns.now_ms)

    def _wait_for_words(self) -> Turn[None]:
        ends_ms = self.turns.now_ms + FLUSH_MS
        while self.settler.unsettled and self.turns.now_ms < ends_ms:
            yield Hear((self.settler.settled,), ends_ms - self.turns.now_ms)

    def _leave(self) -> Turn[None]:
        rest = True
        while rest:
            call = reap_call(self.prefix, self.incarnation, is_crash=False)
            reaped = yield from self.persist(
                call,
                self.incarnation,
                False,  # noqa: FBT003 - what the history notes of the call
                patience_ms=GOODBYE_MS,
            )
            rest = reaped.rest
