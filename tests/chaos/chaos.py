"""One run of chaos: start everything, let the faults loose, wait until all is quiet, collect."""

import heapq
import itertools
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from aioq.broker import queues
from aioq.broker.scripts import Call
from aioq.embedded import PrivateServer
from tests.broker.place import Admin
from tests.chaos import journal
from tests.chaos.actors import Life, Slot, environment, worker
from tests.chaos.links import Links
from tests.chaos.plan import Kind, Plan
from tests.faults.proxy import Proxy

Action = Callable[[Proxy], object]

PREFIX = "{test.0}:"
QUEUE = "default"
AOF = ["--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
"""Every acknowledged write is on the disk, and the whole history stays there."""
LATENCIES = [0, 0, 0.001, 0.005, 0.02]
LEAVING = 30.0
"""Seconds that a worker may take to leave when it is asked to."""


class Chaos:
    """A server, its workers and producers, and what is done to them."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.server = PrivateServer(appendonly=True, directory=folder / "server", arguments=AOF)
        self.workers: list[Slot] = []
        self.producers: list[Slot] = []
        self.outages: list[tuple[float, float]] = []
        """When the server was killed or frozen."""
        self.injected: Counter[Kind] = Counter()
        self.problems: list[str] = []
        """What went wrong with the processes themselves."""
        self.drained: float | None = None
        """Seconds from the last fault until everything was done; None: it never was."""
        self._folder = folder
        self._random = random.Random(plan.seed)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._faults: dict[Kind, Callable[[], None]] = {
            "kill a worker": self._kill_worker,
            "freeze a worker for a moment": lambda: self._freeze_worker(0.05, 0.3),
            "freeze a worker for longer than its lease": lambda: self._freeze_worker(1.2, 2.5),
            "kill the server": self._kill_server,
            "freeze the server": self._freeze_server,
            "kill all connections": lambda: self._tell_server("CLIENT", "KILL", "SKIPME", "yes"),
            "reset a link": lambda: self._do_to_link(Proxy.reset),
            "cut a reply": self._cut_reply,
            "stall a link": lambda: self._do_to_link(Proxy.stall),
            "hold a link for a moment": lambda: self._hold_link(0.05, 0.3),
            "hold a link for longer than the lease": lambda: self._hold_link(1.2, 2.5),
            "flush the scripts": lambda: self._tell_server("SCRIPT", "FLUSH"),
            "kill a producer": self._kill_producer,
            "pause the queue": self._pause,
        }

    def run(self) -> None:
        """Do all of it; the server still runs when this returns."""
        self.server.start()
        with Links(self.server.url) as self.links:
            try:
                self._begin()
                self._let_loose()
                self._calm_down()
            finally:
                for slot in (*self.workers, *self.producers):
                    if slot.lives and slot.life.code is None:
                        slot.life.send(signal.SIGCONT)
                        slot.life.kill()

    def _begin(self) -> None:
        plan = self.plan
        self.workers = [self._worker(f"w{index + 1}") for index in range(plan.workers)]
        self.producers = [self._producer(f"p{index + 1}") for index in range(plan.producers)]
        self._began = time.monotonic()
        for slot in (*self.workers, *self.producers):
            slot.begin()

    def _worker(self, name: str) -> Slot:
        url = self.links.open(name)
        plan = self.plan
        return Slot(name, worker(self._folder, url, lease=plan.lease, concurrency=plan.concurrency))

    def _producer(self, name: str) -> Slot:
        url = self.links.open(name)
        settings = environment({"AIOQ_URL": url, "AIOQ_ENQUEUE_TIMEOUT": "30"})
        share = self.plan.jobs // self.plan.producers + 1

        def begin(life: str) -> Life:
            left = max(share - sum(map(_acknowledged, slot.lives)), 50)
            seconds = max(self._began + self.plan.seconds - time.monotonic(), 1)
            words = [life, str(left), f"{seconds:g}", str(self._random.getrandbits(32))]
            command = [sys.executable, "-m", "tests.chaos.producer", *words]
            return Life(life, self._folder, command, settings)

        slot = Slot(name, begin)
        return slot

    def _let_loose(self) -> None:
        schedule = self.plan.schedule()
        for index, kind in enumerate(schedule):
            self._live_until(self._began + self.plan.seconds * (index + 1) / (len(schedule) + 1))
            self._faults[kind]()
            self.injected[kind] += 1
            self.links.do(self._any_link(), _delay(self._random.choice(LATENCIES)))
        self._live_until(self._began + self.plan.seconds)

    def _live_until(self, moment: float) -> None:
        """Let time pass, end the faults that have lasted long enough, and look after the crew."""
        while (now := time.monotonic()) < moment:
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()
            self._look_after_the_crew()
            time.sleep(min(0.02, moment - now))

    def _look_after_the_crew(self) -> None:
        for slot in self.workers:
            if slot.life.code is not None:
                self._report_end(slot)
                slot.begin()
        for slot in self.producers:
            if slot.life.code not in {None, 0}:
                self._report_end(slot)
                slot.begin()

    def _report_end(self, slot: Slot) -> None:
        said = slot.life.stderr.read_text()[-2000:]
        self.problems.append(f"{slot.life.name} ended by itself, code {slot.life.code}:\n{said}")

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._count), action))

    def _kill_worker(self) -> None:
        slot = self._random.choice(self.workers)
        slot.life.kill()
        slot.begin()

    def _kill_producer(self) -> None:
        slot = self._random.choice(self.producers)
        if slot.life.code is not None:
            slot.begin()
        slot.life.kill()
        slot.begin()

    def _freeze_worker(self, least: float, most: float) -> None:
        """Freeze a worker for so many leases."""
        slot = self._working()
        life, since = slot.life, time.monotonic()
        life.send(signal.SIGSTOP)
        slot.is_frozen = True

        def thaw() -> None:
            if life.code is None:
                life.send(signal.SIGCONT)
                slot.is_frozen = False
            slot.silences.append((since, min(time.monotonic(), life.ended)))

        self._in(self._random.uniform(least, most) * self.plan.lease, thaw)

    def _kill_server(self) -> None:
        pauses = [0.2, 1.3 * self.plan.lease, 0, 0.8]
        pause = pauses[self.injected["kill the server"] % len(pauses)]
        self._without_server(self.server.kill, self.server.restart, pause)

    def _freeze_server(self) -> None:
        pauses = [0.4 * self.plan.lease, 1.3 * self.plan.lease]
        pause = pauses[self.injected["freeze the server"] % len(pauses)]
        self._without_server(self.server.pause, self.server.resume, pause)

    def _without_server(
        self, leave: Callable[[], None], back: Callable[[], None], pause: float
    ) -> None:
        since = time.monotonic()
        leave()
        time.sleep(pause)
        back()
        self.outages.append((since, time.monotonic()))

    def _tell_server(self, *command: str) -> None:
        admin = Admin(self.server.url)
        admin(*command)
        admin.close()

    def _pause(self) -> None:
        """Pause the queue of everybody for a moment."""
        self._run(queues.pause(PREFIX, queue=QUEUE))
        seconds = self._random.uniform(0.3, 1.5)
        self._in(seconds, lambda: self._run(queues.resume(PREFIX, queue=QUEUE)))

    def _run(self, call: Call[bool]) -> None:
        admin = Admin(self.server.url)
        admin.run(call)
        admin.close()

    def _do_to_link(self, action: Action) -> None:
        self.links.do(self._any_link(), action)

    def _hold_link(self, least: float, most: float) -> None:
        """Cut a worker off for so many leases; what was sent meanwhile arrives late."""
        slot, since = self._working(), time.monotonic()
        self.links.do(slot.name, Proxy.hold)

        def release() -> None:
            self.links.do(slot.name, Proxy.release)
            slot.silences.append((since, time.monotonic()))

        self._in(self._random.uniform(least, most) * self.plan.lease, release)

    def _working(self) -> Slot:
        """Choose a worker that takes jobs, if there is one: it has a lease to lose."""
        others = [slot for slot in self.workers if not slot.is_frozen] or self.workers
        working = [slot for slot in others if "Ready: " in slot.life.stderr.read_text()]
        return self._random.choice(working or others)

    def _any_link(self) -> str:
        return self._random.choice([*self.workers, *self.producers]).name

    def _cut_reply(self) -> None:
        """Lose the end of a reply, and with it the word of what the server has done."""
        size = self._random.randrange(200)
        self._do_to_link(lambda proxy: proxy.cut_after(size))

    def _calm_down(self) -> None:
        """End the faults, and wait until everything is done and everybody has left."""
        for _, _, end in sorted(self._later):
            end()
        self._later.clear()
        calm = time.monotonic()
        for slot in (*self.workers, *self.producers):
            self.links.do(slot.name, _delay(0))
        if self._comes_true(self._is_drained, self.plan.drain):
            self.drained = time.monotonic() - calm
        if not self._comes_true(self._are_dead_reaped, 5 * self.plan.lease + 5):
            self.problems.append(f"dead workers are not reaped: {self._leases()}")
        for slot in self.workers:
            slot.life.send(signal.SIGTERM)
        for slot in self.workers:
            code = slot.life.leave(LEAVING)
            if code != 0:
                said = slot.life.stderr.read_text()[-2000:]
                self.problems.append(f"{slot.life.name} left with the code {code}:\n{said}")

    def _comes_true(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            self._live_until(time.monotonic() + 0.1)
        return False

    def _is_drained(self) -> bool:
        """Tell whether everything is enqueued, done and, where somebody waits for it, heard of."""
        if any(slot.life.code is None for slot in self.producers):
            return False
        admin = Admin(self.server.url)
        left = admin("EVAL", _LEFT, 1, PREFIX)
        admin.close()
        return left == 0

    def _are_dead_reaped(self) -> bool:
        return len(self._leases()) == len(self.workers)

    def _leases(self) -> list[bytes]:
        admin = Admin(self.server.url)
        found = admin("ZRANGE", f"{PREFIX}lw", 0, -1)
        admin.close()
        return found


_LEFT = """
local left = redis.call('ZCARD', KEYS[1] .. 'd')
for _, lane in ipairs(redis.call('SUNION', KEYS[1] .. 'l', KEYS[1] .. 'ss')) do
  left = left + redis.call('XLEN', KEYS[1] .. 's:' .. lane)
end
for _, parked in ipairs(redis.call('KEYS', KEYS[1] .. 'hp:*')) do
  left = left + redis.call('ZCARD', parked)
end
return left
"""


def _delay(seconds: float) -> Action:
    return lambda proxy: setattr(proxy, "delay", seconds)


def _acknowledged(life: Life) -> int:
    return sum(line.kind == "acked" for line in journal.read(life.journal))
