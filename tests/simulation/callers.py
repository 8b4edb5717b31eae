"""Simulated callers: producers, people who revoke and replay, and supervisors.

A producer sends an enqueue again until it is answered or its patience is at an end; then nobody
knows whether there is a job, and both must be fine.
"""

from typing import TYPE_CHECKING

from aioq.broker import letters, limits, queues, scripts
from aioq.broker.keys import lane
from aioq.broker.resp import ReplyError
from aioq.broker.scripts import NewJob
from tests.simulation.client import ENQUEUE_TIMEOUT_MS, Client
from tests.simulation.keeper import reap_call
from tests.simulation.limits import CHANGES
from tests.simulation.stories import Story
from tests.simulation.tasks import KEEP_MS, TASKS
from tests.simulation.turns import Lost, Pause, Turn

if TYPE_CHECKING:
    from tests.simulation.world import World

LEVELS = (5, 5, 5, 9, 0)
BATCH = 4
_NAMES = list(TASKS)
_WEIGHTS = [task.weight for task in TASKS.values()]


class Producer(Client):
    """Enqueues, as long as there is not too much work lying around."""

    def __init__(self, name: str, world: "World", *, pause_ms: float) -> None:
        super().__init__(name, world)
        self._pause_ms = pause_ms
        self._made = 0
        self.spawn("main", self._run())

    def _run(self) -> Turn[None]:
        while True:
            yield Pause(self.rng.expovariate(1 / self._pause_ms))
            if self.world.has_room and not self.world.is_over:
                jobs = [self._plan() for _ in range(self.rng.randint(1, BATCH))]
                yield from self._enqueue(jobs)

    def _plan(self) -> NewJob:
        """Decide on a job; now and then on one that somebody else has enqueued by the same id."""
        rng, world = self.rng, self.world
        present = world.history.present.values()
        known = [story for story in present if story.job.nonce and story.is_alive]
        if known and rng.random() < 0.03:
            return rng.choice(known[-5:]).job._replace(nonce=f"{self.name}-{self._made}")
        self._made += 1
        name = f"{self.name}-{self._made}"
        due_ms = rng.choice((0, 0, 0, 0, 0, 1, 700, 8_000, 40_000))
        expires_ms = rng.choice((*[None] * 12, 500, 5_000, 60_000))
        task = TASKS[rng.choices(_NAMES, _WEIGHTS)[0]]
        # Some producers know a task by its name alone, and nothing of its limits.
        holds = f" {rng.choice(task.holds)}" if task.holds and rng.random() < 0.8 else ""
        job = NewJob(
            job_id=name,
            lane=lane(rng.choice(world.queues), rng.choice(LEVELS)) + holds,
            task=task.name,
            due=f"+{due_ms}" if due_ms else "",
            expires="" if expires_ms is None else f"+{expires_ms}",
            nonce=f"nonce-{name}" if rng.random() < 0.1 else "",
            payload=f"<{name}>".encode() * (1 if rng.random() < 0.9 else 20),
        )
        self.history.begin(Story(job, due_after_ms=due_ms, expires_after_ms=expires_ms))
        return job

    def _enqueue(self, jobs: list[NewJob]) -> Turn[None]:
        jobs = list({job.job_id: job for job in jobs}.values())
        ask = self.rng.random() < 0.3
        call = scripts.enqueue(self.prefix, count=len(jobs), ask=ask, jobs=jobs)
        try:
            yield from self.persist(call, jobs, patience_ms=ENQUEUE_TIMEOUT_MS)
        except Lost:
            self.history.figures["enqueues never answered"] += 1
        except ReplyError:  # full: nothing was queued, and the caller is told so
            return
        else:
            for job in jobs:
                self.history.acknowledged(job.job_id)


class Operator(Client):
    """Revokes, replays, discards and waits, as people and programs do."""

    def __init__(self, name: str, world: "World", *, pause_ms: float) -> None:
        super().__init__(name, world)
        self._pause_ms = pause_ms
        self._calls = 0
        self.spawn("main", self._run())

    def _run(self) -> Turn[None]:
        while True:
            yield Pause(self.rng.expovariate(1 / self._pause_ms))
            if self.world.is_over:
                yield from self._resume_all()
                return
            try:
                yield from self._act()
            except Lost:
                continue

    def _resume_all(self) -> Turn[None]:
        """Leave no queue paused, once nothing that is late can pause it again."""
        while self.world.is_troubled:
            yield Pause(1000)
        for queue in self.world.queues:
            yield from self.persist(queues.resume(self.prefix, queue=queue), queue)

    def _change_limit(self) -> Turn[None]:
        field = self.rng.choice(list(CHANGES))
        numbers = self.rng.choice(CHANGES[field])
        call = limits.change(self.prefix, limit=field, numbers=numbers)
        yield from self.persist(call, field, numbers, patience_ms=ENQUEUE_TIMEOUT_MS)
        yield from self.persist(limits.wake(self.prefix, limit=field, most=500))

    def _pause(self) -> Turn[None]:
        queue = self.rng.choice(self.world.queues)
        pausing = queues.pause(self.prefix, queue=queue)
        yield from self.persist(pausing, queue, patience_ms=ENQUEUE_TIMEOUT_MS)
        yield Pause(self.rng.uniform(100, 8_000))
        yield from self.persist(queues.resume(self.prefix, queue=queue), queue)

    def _act(self) -> Turn[None]:
        if (drawn := self.rng.random()) < 0.2:
            yield from self._change_limit() if drawn < 0.1 else self._pause()
            return
        self._calls += 1
        nonce = f"{self.name}-{self._calls}"
        present = list(self.history.present)
        if not present:
            return
        chosen = self.rng.sample(present, min(len(present), self.rng.randint(1, 3)))
        dead = [each for each in present if self.history.stories[each].state == "f"]
        targets = [*chosen[:1], *dead[-2:]]
        what = self.rng.choices(("revoke", "replay", "discard", "wait"), (4, 4, 1, 4))[0]
        patience_ms = ENQUEUE_TIMEOUT_MS
        if what == "revoke":
            stories = self.history.present.values()
            held = [story.job_id for story in stories if story.holds and story.is_alive]
            yield from self._revoke(held[:2] if held and self.rng.random() < 0.5 else chosen)
        elif what == "replay":
            call = letters.replay(self.prefix, nonce=nonce, job_ids=targets)
            yield from self.persist(call, nonce, targets, patience_ms=patience_ms)
        elif what == "discard":
            discarding = letters.discard(self.prefix, nonce=nonce, job_ids=targets)
            yield from self.persist(discarding, nonce, targets, patience_ms=patience_ms)
        else:
            asking = scripts.wait(self.prefix, client=self.name, job_ids=chosen)
            yield from self.persist(asking, chosen, patience_ms=patience_ms)

    def _revoke(self, job_ids: list[str]) -> Turn[None]:
        at_once = self.rng.random() < 0.3
        call = scripts.revoke(self.prefix, at_once=at_once, keep_ms=KEEP_MS, job_ids=job_ids)
        yield from self.persist(call, at_once, job_ids, patience_ms=ENQUEUE_TIMEOUT_MS)


class Supervisor(Client):
    """Has seen a worker die, and gives its jobs to others at once."""

    def __init__(self, name: str, world: "World", *, worker: str) -> None:
        super().__init__(name, world)
        self.spawn("main", self._run(worker))

    def _run(self, worker: str) -> Turn[None]:
        rest = True
        while rest:
            rest = (yield from self.persist(reap_call(self.prefix, worker), worker, True)).rest  # noqa: FBT003 - the script's
