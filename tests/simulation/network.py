"""What becomes of messages: lost, doubled, too late, or simply delivered.

A message that is late is executed when its sender has long given it up: a worker that was frozen,
a packet that was held back.  Only what a client would send again as it is may come twice; a fetch
or a recover is never repeated, for each attempt has an epoch of its own.
"""

import heapq
import random
from dataclasses import dataclass
from enum import Enum
from itertools import count

from tests.simulation.turns import Message, Process

LATEST_MS = 45_000
"""No message is later than this; with what a client asks again it stays below 120 s."""
NEVER_TWICE = {"fetch", "recover"}


class Fate(Enum):
    """What becomes of a message."""

    DELIVERED = "delivered"
    REQUEST_LOST = "requests lost"
    REPLY_LOST = "replies lost"
    LATE = "requests much too late"
    TWICE = "requests that came twice"


@dataclass(frozen=True)
class Odds:
    """How likely each fate is, of a hundred messages."""

    request_lost: float = 0
    reply_lost: float = 0
    late: float = 0
    twice: float = 0


class Network:
    """The way between the processes and the server."""

    def __init__(self, rng: random.Random, odds: Odds) -> None:
        self._rng = rng
        self.odds = odds
        self._late: list[tuple[float, int, Message, str]] = []
        self._numbers = count()

    def fate(self, message: Message) -> Fate:
        """Decide what becomes of a message."""
        odds = self.odds
        drawn = self._rng.random() * 100
        for fate, share in (
            (Fate.REQUEST_LOST, odds.request_lost),
            (Fate.REPLY_LOST, odds.reply_lost),
            (Fate.LATE, odds.late),
            (Fate.TWICE, 0 if message.kind in NEVER_TWICE else odds.twice),
        ):
            drawn -= share
            if drawn < 0:
                return fate
        return Fate.DELIVERED

    def hold(self, message: Message, sender: Process, now_ms: float) -> None:
        """Keep a message back for a while."""
        # Most are a little late; some are as late as can be.
        delay_ms = LATEST_MS * self._rng.random() ** 3
        item = (now_ms + delay_ms, next(self._numbers), message, sender.name)
        heapq.heappush(self._late, item)

    def arrived(self, now_ms: float) -> tuple[Message, str] | None:
        """Return one late message that arrives now, and its sender."""
        if not self._late or self._late[0][0] > now_ms:
            return None
        _, _, message, sender = heapq.heappop(self._late)
        return message, sender

    @property
    def next_ms(self) -> float | None:
        """When the next late message arrives; None: none is held."""
        return self._late[0][0] if self._late else None

    def lag(self) -> float:
        """Return how long a reply takes."""
        return self._rng.expovariate(1 / 8)

    def timeout(self, longest_ms: float) -> float:
        """Return how long it takes to notice that no reply comes: a reset shows at once."""
        return self._rng.uniform(1, 50) if self._rng.random() < 0.5 else longest_ms
