"""Who goes next: generators that take turns, in a time that passes only between them.

A service of a simulated process is a generator.  It yields what it waits for, and is resumed when
that has come and the seeded choice falls on it.  A process that is frozen is passed over, and goes
on later as if nothing had been.
"""

import heapq
import random
from collections.abc import Generator
from itertools import count
from typing import Any, NamedTuple, TypeVar

from aioq.broker.scripts import Call

T = TypeVar("T")


class Message(NamedTuple):
    """A call on its way to the server."""

    call: Call[Any]
    about: tuple[Any, ...] = ()
    """What the history needs to know of it, beyond the reply."""

    @property
    def kind(self) -> str:
        """The name of the script."""
        return self.call.script.name


class Ask(NamedTuple):
    """Wait for the reply to a message."""

    message: Message
    timeout_ms: int


class Pause(NamedTuple):
    """Wait for some time."""

    ms: float


class Signal:
    """Something that services wait for; it tells all that wait, and remembers nothing."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Service, int]] = []

    def await_by(self, service: "Service") -> None:
        """Have a service told, once, unless it has gone on meanwhile."""
        self._waiting.append((service, service.ticket))

    def fire(self) -> None:
        """Tell all that wait now."""
        waiting, self._waiting = self._waiting, []
        for service, ticket in waiting:
            service.turns.wake(service, ticket, value=self)


class Hear(NamedTuple):
    """Wait for one of some signals, which is the value; or None after some time."""

    signals: tuple[Signal, ...]
    ms: float | None = None


class Listen(NamedTuple):
    """Wait at the server for a token of one of some doorbells, as BLPOP does."""

    queues: tuple[str, ...]
    ms: float


Wait = Ask | Pause | Hear | Listen
Turn = Generator[Wait, Any, T]


class Lost(Exception):
    """No reply came; nobody knows whether the call was executed."""


class Process:
    """What crashes, freezes and is cut off as one."""

    def __init__(self, name: str, turns: "Turns") -> None:
        self.name = name
        self.turns = turns
        self.is_alive = True
        self.frozen_until = 0.0
        self.stalled_until = 0.0
        """Until when its event loop does not turn; its threads do."""
        self.cut_until = 0.0
        """Until when nothing of it reaches the server, or comes back."""
        self.is_cut_backwards = False
        """Whether only the replies are cut off."""
        self.troubles: list[tuple[float, float]] = []
        """When it could not have kept its lease, whatever it did: begin and end."""

    def spawn(self, name: str, generator: Turn[None], *, in_loop: bool = True) -> "Service":
        """Start a service."""
        service = Service(self, name, generator, in_loop=in_loop)
        self.turns.wake(service, service.ticket)
        return service

    def can_turn(self, service: "Service", now_ms: float) -> float:
        """Return when the service can go on: `now_ms` or later."""
        until = max(self.frozen_until, self.stalled_until if service.in_loop else 0)
        return max(until, now_ms)


class Service:
    """One generator of a process."""

    def __init__(
        self, process: Process, name: str, generator: Turn[None], *, in_loop: bool
    ) -> None:
        self.process = process
        self.turns = process.turns
        self.name = name
        self.in_loop = in_loop
        self.generator = generator
        self.ticket = 0
        """Grows with each turn, so that a timer or signal of an earlier wait finds nobody."""
        self.is_over = False
        self.losses = 0
        """How many of its messages were lost in a row."""
        self._value: object = None
        self._error: Exception | None = None

    def __str__(self) -> str:
        return f"{self.process.name}.{self.name}"

    def leave_with(self, value: object, error: Exception | None) -> None:
        """Note what the next turn begins with."""
        self.ticket += 1
        self._value, self._error = value, error

    def resume(self) -> Wait | None:
        """Take a turn; None: it was the last one."""
        value, error = self.begin()
        try:
            if error is not None:
                return self.generator.throw(error)
            return self.generator.send(value)
        except StopIteration:
            self.is_over = True
            return None

    def begin(self) -> tuple[object, Exception | None]:
        """Return what the turn begins with."""
        value, error = self._value, self._error
        self._value = self._error = None
        return value, error

    def cancel(self) -> None:
        """End it where it waits."""
        self.is_over = True
        self.generator.close()


class Turns:
    """The order of everything: a seeded choice among those that can go on."""

    def __init__(self, rng: random.Random) -> None:
        self.now_ms = 0.0
        """Time as it truly is, which no process knows."""
        self._rng = rng
        self._ready: list[Service] = []
        self._timers: list[tuple[float, int, Service, int, object, Exception | None]] = []
        self._numbers = count()

    def wake(
        self,
        service: Service,
        ticket: int,
        *,
        value: object = None,
        error: Exception | None = None,
    ) -> None:
        """Let a service go on, unless it has done so since the ticket was given."""
        if service.ticket != ticket or service.is_over:
            return
        service.leave_with(value, error)
        self._ready.append(service)

    def wake_at(
        self,
        when_ms: float,
        service: Service,
        *,
        value: object = None,
        error: Exception | None = None,
    ) -> None:
        """Let a service go on at some time."""
        timer = (when_ms, next(self._numbers), service, service.ticket, value, error)
        heapq.heappush(self._timers, timer)

    def next(self) -> Service:
        """Choose who goes on; where nobody can, time passes until somebody can."""
        while True:
            if not self._ready:
                self.now_ms = max(self.now_ms, self._timers[0][0])
            else:
                self.now_ms += self._rng.random() * 4
            while self._timers and self._timers[0][0] <= self.now_ms:
                _, _, service, ticket, value, error = heapq.heappop(self._timers)
                self.wake(service, ticket, value=value, error=error)
            chosen = self._choose()
            if chosen is not None:
                return chosen

    def _choose(self) -> Service | None:
        if not self._ready:
            return None
        at = self._rng.randrange(len(self._ready))
        self._ready[at], self._ready[-1] = self._ready[-1], self._ready[at]
        service = self._ready.pop()
        if service.is_over or not service.process.is_alive:
            return None
        when_ms = service.process.can_turn(service, self.now_ms)
        if when_ms <= self.now_ms:
            return service
        value, error = service.begin()
        self.wake_at(when_ms, service, value=value, error=error)
        return None
