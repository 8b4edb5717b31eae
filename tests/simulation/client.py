"""A simulated process that talks to the server, by the rules of `aioq/broker/broker.py`."""

from typing import TYPE_CHECKING, Any, TypeVar

from aioq.broker.scripts import Call
from aioq.core.retry import reconnect_delay
from tests.simulation.turns import Ask, Lost, Message, Pause, Process, Turn

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
REPLY_TIMEOUT_MS = 10_000
ENQUEUE_TIMEOUT_MS = 30_000
"""How long a client asks again.  A message may be late besides; a record lives 120 s at least."""


class Client(Process):
    """One process."""

    def __init__(self, name: str, world: "World") -> None:
        super().__init__(name, world.turns)
        self.world = world
        self.history = world.history
        self.prefix = world.prefix
        self.rng = world.rng

    def ask(self, call: Call[T], *about: Any, timeout_ms: int = REPLY_TIMEOUT_MS) -> Turn[T]:  # noqa: ANN401 - for the history
        """Send a call once.

        Raises:
            Lost: it may or may not have run.
        """
        return (yield Ask(Message(call, about), timeout_ms))

    def persist(self, call: Call[T], *about: Any, patience_ms: float | None = None) -> Turn[T]:  # noqa: ANN401 - for the history
        """Send a call until it is answered.

        Raises:
            Lost: there was no answer in time.
        """
        ends_ms = None if patience_ms is None else self.turns.now_ms + patience_ms
        failures = 0
        while True:
            try:
                return (yield from self.ask(call, *about))
            except Lost:
                pause_ms = self.reconnect_delay(failures)
                if ends_ms is not None and self.turns.now_ms + pause_ms >= ends_ms:
                    raise
            failures += 1
            yield Pause(pause_ms)

    def reconnect_delay(self, failures: int) -> float:
        """Return the milliseconds before the next attempt."""
        return reconnect_delay(failures, self.rng.uniform) * 1000
