"""The simulated world: the server, the processes around it, and whose turn it is.

A step is one message.  Time passes between steps only, and everything that is left to chance comes
from one seeded generator, so a seed tells the whole story.
"""

import random
from collections import Counter, deque
from typing import Any

from aioq.broker.resp import ReplyError
from aioq.embedded import PrivateServer
from tests.simulation.audit import Auditor
from tests.simulation.callers import Operator, Producer, Supervisor
from tests.simulation.faults import Climate, Faults, draw
from tests.simulation.host import Host
from tests.simulation.network import Fate, Network, Odds
from tests.simulation.stories import Violation
from tests.simulation.turns import Ask, Hear, Listen, Lost, Pause, Process, Service, Turn, Turns
from tests.simulation.worker import Post, Worker

POSTS = (
    Post("a", ("default", "mail"), slots=4, threads=1, knows_all=True),
    Post("b", ("default", "mail"), slots=6, threads=2, knows_all=True),
    Post("c", ("default",), slots=3, threads=1, knows_all=False),
    Post("d", ("mail",), slots=3, threads=1, knows_all=True),
    Post("e", ("default", "mail"), slots=8, threads=1, knows_all=False),
)
QUEUES = ("default", "mail")
MOST_ALIVE = 60
"""Jobs that are alive; while there are so many, no more are enqueued."""
AUDIT_EVERY = 50
DRAINED_MS = 1_200_000
"""How long the last jobs may take after the last fault: each killer has to be found out."""
LEASING = {"keeper", "main", "rebirth"}
"""The services that a lease depends on."""


class World:
    """One run."""

    def __init__(
        self, seed: int, server: PrivateServer, *, climate: Climate | None = None, trace: int = 60
    ) -> None:
        self.rng = random.Random(seed)
        self.turns = Turns(self.rng)
        self.queues = QUEUES
        self.host = Host(server, self.turns, self.rng, QUEUES)
        self.prefix = self.host.prefix
        self.history = self.host.history
        self.figures = self.history.figures
        self.climate = climate or draw(self.rng)
        self.network = Network(self.rng, self.climate.odds)
        self.steps = 0
        self.is_over = False
        """Whether no more faults happen and no more jobs come."""
        self.workers: list[Worker] = []
        self._auditor = Auditor(self)
        self._listeners: list[tuple[Service, int, tuple[str, ...]]] = []
        self._trace: deque[tuple[Any, ...]] = deque(maxlen=trace)
        self._generations: Counter[str] = Counter()
        self._posts = {post.name: post for post in POSTS}
        self._god = Process("world", self.turns)

    # What the simulated processes ask.

    @property
    def has_room(self) -> bool:
        """Whether more jobs may come."""
        return sum(story.is_alive for story in self.history.present.values()) < MOST_ALIVE

    @property
    def is_troubled(self) -> bool:
        """Whether messages are still on their way that nobody waits for, or the server is away."""
        return self.host.is_away or self.network.next_ms is not None

    def has_left(self, worker: Worker) -> None:
        """Take note that a worker has left in good order; another comes."""
        self._replace(worker)

    def crash(self, worker: Worker, why: str) -> None:
        """Kill a worker; in half of the cases its supervisor sees that."""
        if not worker.is_alive:
            return
        self.happened("crashes", f"{worker.name} {why}")
        name = worker.incarnation
        if name and self.rng.random() < 0.5:
            Supervisor(f"supervisor of {name}", self, worker=name)
        self._replace(worker)

    # What goes wrong.

    def happened(self, what: str, to: str) -> None:
        """Note a fault."""
        self.figures[f"fault: {what}"] += 1
        self._note(what.upper(), to)

    def troubled(self, worker: Worker, what: str, ms: float, *, counts: bool = True) -> float:
        """Note a fault of a worker that lasts; return when it ends."""
        self.happened(what, f"{worker.name} for {ms:.0f} ms")
        now_ms = self.turns.now_ms
        if counts:
            worker.troubles.append((now_ms, now_ms + ms))
        return now_ms + ms

    def move_clock(self, ms: int) -> None:
        """Let the server's clock jump."""
        self.happened("clock jumps", f"{ms} ms")
        self.host.move_clock(ms)

    def forget_scripts(self) -> None:
        """Have the server forget the scripts."""
        self.happened("scripts flushed", "")
        self.host.forget_scripts()

    def fill(self, ms: float) -> None:
        """Let the server be full for some time."""
        self.happened("full server", f"for {ms:.0f} ms")
        self.host.fill(is_full=True)
        self._god.spawn("drained", self._empty_after(ms))

    def _empty_after(self, ms: float) -> Turn[None]:
        yield Pause(ms)
        self.host.fill(is_full=False)
        self._note("NOT FULL", "")

    def take_server_away(self, ms: float) -> None:
        """Kill the server, and have it back with everything."""
        self.happened("outages", f"for {ms:.0f} ms")
        self.host.take_away(ms)
        self._cut_listeners()

    def tear(self, *, most: int, outage_ms: float) -> None:
        """Kill the server, and have it back from a prefix of its log."""
        touched = self.host.tear(most=most, ms=outage_ms)
        self.happened("torn logs", f"{outage_ms:.0f} ms; lost is what was done to {touched}")
        self._auditor.forget_again()
        self.host.restore(touched)
        self._cut_listeners()

    # The run.

    def run(self, steps: int) -> None:
        """Take so many steps, then let everything come to its end.

        Raises:
            Violation: with the last steps.
        """
        try:
            self._begin()
            while self.steps < steps:
                self._turn()
            self._drain()
        except Violation as violation:
            raise Violation(f"step {self.steps}: {violation}\n{self.trace()}") from violation
        finally:
            self.figures["steps"] = self.steps
            self.figures["simulated seconds"] = int(self.turns.now_ms / 1000)

    def trace(self) -> str:
        """Return the last steps, in words."""
        lines: list[str] = []
        for step, now, who, what, arguments, reply in self._trace:
            words = " ".join(map(_short, arguments))
            arrow = f" -> {_short(reply)}" if reply != "" else ""
            lines.append(f"{step:>7} {now:>11.1f}  {who:<14} {what}: {words}{arrow}"[:400])
        return "\n".join(lines)

    def close(self) -> None:
        """Hang up."""
        self.host.close()

    def _begin(self) -> None:
        self.host.declare()
        busy = self.rng.choice((400, 1_500, 6_000))
        for post in POSTS:
            self._start(post)
        for number in range(3):
            Producer(f"p{number}", self, pause_ms=busy)
        Operator("operator", self, pause_ms=self.rng.choice((3_000, 30_000)))
        Faults(self, self.climate)

    def _start(self, post: Post) -> None:
        self._generations[post.name] += 1
        name = f"{post.name}{self._generations[post.name]}"
        self.workers.append(Worker(name, self, post))

    def _replace(self, worker: Worker) -> None:
        worker.is_alive = False
        self.workers.remove(worker)
        self._listeners = [each for each in self._listeners if each[0].process is not worker]
        self._god.spawn("start", self._start_later(worker.post))

    def _start_later(self, post: Post) -> Turn[None]:
        yield Pause(self.rng.uniform(100, 8_000))
        if post.name in self._posts:
            self._start(post)

    def _turn(self) -> None:
        """Let one late message arrive, or one service go on."""
        before = self.steps
        late = self.network.arrived(self.turns.now_ms)
        if late is not None:
            self._arrive(*late)
        else:
            service = self.turns.next()
            wait = service.resume()
            if wait is not None:
                self._await(service, wait)
        if self.steps // AUDIT_EVERY != before // AUDIT_EVERY:
            self._auditor.audit()

    def _await(self, service: Service, wait: Ask | Pause | Hear | Listen) -> None:
        match wait:
            case Pause():
                self.turns.wake_at(self.turns.now_ms + max(wait.ms, 0), service)
            case Hear():
                for signal in wait.signals:
                    signal.await_by(service)
                if wait.ms is not None:
                    self.turns.wake_at(self.turns.now_ms + max(wait.ms, 0), service)
            case Listen():
                self._listen(service, wait)
            case Ask():
                self._send(service, wait)

    def _send(self, service: Service, ask: Ask) -> None:
        self.steps += 1
        fate = self._fate(service, ask)
        message, process, now_ms = ask.message, service.process, self.turns.now_ms
        if self.host.is_away:
            self._note("refused", str(service), message, "the server is away")
            self.turns.wake_at(now_ms + self.rng.uniform(1, 50), service, error=Lost())
            return
        reply, error = None, None
        if fate in {Fate.REQUEST_LOST, Fate.LATE}:
            self._note(fate.value, str(service), message)
        else:
            reply, error = self._execute(message, str(service), fate.value)
        if fate in {Fate.LATE, Fate.TWICE}:
            self.network.hold(message, process, now_ms)
        if fate in {Fate.DELIVERED, Fate.TWICE}:
            service.losses = 0
            when_ms = now_ms + self.network.lag()
            self.turns.wake_at(when_ms, service, value=reply, error=error)
            self._serve_bells()
        else:
            self._lose(service, ask.timeout_ms)
            self._serve_bells()

    def _fate(self, service: Service, ask: Ask) -> Fate:
        process = service.process
        fate = self.network.fate(ask.message)
        if self.turns.now_ms < process.cut_until:
            fate = Fate.REPLY_LOST if process.is_cut_backwards else Fate.REQUEST_LOST
        if fate is not Fate.DELIVERED and not self.host.is_away:
            self.figures[f"fault: {fate.value}"] += 1
        return fate

    def _lose(self, service: Service, timeout_ms: float) -> None:
        """Let a service notice, sooner or later, that no reply comes."""
        now_ms = self.turns.now_ms
        ms = self.network.timeout(timeout_ms)
        self.turns.wake_at(now_ms + ms, service, error=Lost())
        service.losses += 1
        if service.name in LEASING or service.losses > 2:
            service.process.troubles.append((now_ms, now_ms + max(ms, 7_000)))

    def _arrive(self, message: Any, sender: str) -> None:  # noqa: ANN401 - a message
        if self.host.is_away:
            return
        self.steps += 1
        self._execute(message, sender, "ARRIVES LATE")
        self._serve_bells()

    def _execute(self, message: Any, who: str, how: str) -> tuple[Any, ReplyError | None]:  # noqa: ANN401 - a message
        try:
            reply = self.host.execute(message)
        except ReplyError as error:
            self._note(how, who, message, error)
            return None, error
        except Violation:
            self._note(f"{how}: VIOLATION", who, message)
            raise
        self._note(how, who, message, reply)
        return reply, None

    def _note(self, what: str, who: str, message: Any = None, reply: object = "") -> None:  # noqa: ANN401 - a message
        arguments: tuple[Any, ...] = ()
        if message is not None:
            arguments = (message.kind, *message.call.arguments[1:30])
        self._trace.append((self.steps, self.turns.now_ms, who, what, arguments, reply))

    # The doorbells.

    def _listen(self, service: Service, wait: Listen) -> None:
        now_ms = self.turns.now_ms
        if self.host.is_away or now_ms < service.process.cut_until:
            self.turns.wake_at(now_ms + self.rng.uniform(1, 5_000), service, error=Lost())
            return
        self.turns.wake_at(now_ms + wait.ms, service)
        self._listeners.append((service, service.ticket, wait.queues))
        self._serve_bells()

    def _serve_bells(self) -> None:
        """Give each token to whoever has waited longest, even if that is a frozen process."""
        for listener in list(self._listeners):
            service, ticket, queues = listener
            if service.ticket != ticket or service.is_over:
                self._listeners.remove(listener)
                continue
            queue = next((each for each in queues if self.host.wire.bells.get(each)), None)
            if queue is None:
                continue
            self._listeners.remove(listener)
            self.steps += 1
            token = self.host.pop(queue)
            self._note("rings", str(service), None, queue)
            is_lost = self.rng.random() * 100 < self.network.odds.reply_lost
            if is_lost or self.turns.now_ms < service.process.cut_until:
                self._lose(service, 20_000)
            else:
                value = None if token is None else queue
                self.turns.wake_at(self.turns.now_ms + self.network.lag(), service, value=value)

    def _cut_listeners(self) -> None:
        """Break the connections of those who wait at the server."""
        for service, ticket, _ in self._listeners:
            self.turns.wake(service, ticket, error=Lost())
        self._listeners = []

    # The end.

    def _drain(self) -> None:
        """Stop all faults, and see everything come to its end; L1 and I15."""
        self.is_over = True
        self.network.odds = Odds()
        self._step_until(self._is_calm, "the last fault is over", 400_000)
        self._note("CALM", "world")
        began_ms = self.turns.now_ms
        self._step_until(self._is_done, "all jobs have ended", DRAINED_MS)
        self.figures["ms to drain"] = int(self.turns.now_ms - began_ms)
        self._step_until(self._are_dead_reaped, "all dead workers are reaped", 120_000)
        self._posts.clear()
        for worker in self.workers:
            worker.drain()
        self._step_until(self._is_empty, "all workers have left", 200_000)
        self._auditor.audit()
        self._auditor.forget_all()
        self._auditor.audit()

    def _step_until(self, condition: Any, what: str, longest_ms: float) -> None:  # noqa: ANN401 - a function
        ends_ms = self.turns.now_ms + longest_ms
        while not condition():
            if self.turns.now_ms > ends_ms:
                alive = [s for s in self.history.present.values() if s.is_alive]
                raise Violation(f"L1: {longest_ms:.0f} ms have passed before {what}: {alive}")
            self._turn()

    def _is_calm(self) -> bool:
        now_ms = self.turns.now_ms
        lasts = any(
            max(each.frozen_until, each.stalled_until, each.cut_until) > now_ms
            for each in self.workers
        )
        return not (lasts or self.host.is_away or self.network.next_ms)

    def _is_done(self) -> bool:
        return not any(story.is_alive for story in self.history.present.values())

    def _are_dead_reaped(self) -> bool:
        return self.host.leases() == len(self.workers)

    def _is_empty(self) -> bool:
        return not self.workers and self.host.leases() == 0


def _short(value: object) -> str:
    """Write an argument or a reply down in few letters."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value)[:250]
