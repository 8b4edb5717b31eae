"""The server as the simulation treats it: asked, filled, killed, and set back.

What was set back is known exactly: the length of the log is noted after each call, so a cut tells
which calls are lost, and everything before them must still be there.
"""

import hashlib
import random
from collections import deque
from typing import Any

from aioq.broker.resp import ReplyError
from aioq.broker.scripts import Call, Script
from aioq.embedded import PrivateServer
from tests.broker.place import START, Place
from tests.simulation.audit import look
from tests.simulation.history import History
from tests.simulation.limits import LIMITS
from tests.simulation.scheduler import PLANS
from tests.simulation.stories import Found, Incarnation
from tests.simulation.turns import Message, Turns
from tests.simulation.wire import Wire

GRACED_MS = 14_000
"""No silence of the server accounts for more than this: after half a lease there is grace."""
_POP = "return redis.call('LPOP', KEYS[1] .. 'b:' .. ARGV[1])"
_POP_SHA = hashlib.sha1(_POP.encode()).hexdigest()  # noqa: S324 - Redis's


class Host:
    """One server, its clock, and the history of what it executed."""

    def __init__(
        self, server: PrivateServer, turns: Turns, rng: random.Random, queues: tuple[str, ...]
    ) -> None:
        self._turns = turns
        self._rng = rng
        self.place = Place(server.url)
        self.prefix = self.place.prefix
        self.wire = Wire(server, self.prefix, queues)
        self.history = History(self._look, self._silence)
        self.troubles: list[tuple[float, float]] = []
        """When nobody could keep a lease."""
        self.restarts = 0
        """How often every connection was broken."""
        self._offset_ms = START
        self.away_until = 0.0
        self._journal: deque[tuple[int, list[str]]] = deque(maxlen=61)

    def close(self) -> None:
        """Hang up."""
        self.wire.close()
        self.place.admin.close()

    @property
    def clock_ms(self) -> int:
        """The time by the server's clock."""
        return self._offset_ms + int(self._turns.now_ms)

    @property
    def is_away(self) -> bool:
        """Whether nobody can reach it."""
        return self._turns.now_ms < self.away_until

    def declare(self) -> None:
        """Tell the server of limits and schedules, as the first worker to start does."""
        prefix, now_ms = self.prefix, self.clock_ms
        limits = [word for field, text in LIMITS.items() for word in (field, f"1 app {text}")]
        definitions = [word for plan in PLANS.values() for word in (plan.name, plan.definition)]
        first = {plan.name: now_ms + plan.every_ms for plan in PLANS.values()}
        self.wire.ask(
            ("HSET", f"{prefix}lc", *limits),
            ("HSET", f"{prefix}cr", *definitions),
            ("ZADD", f"{prefix}cz", *(word for name in first for word in (first[name], name))),
        )
        self.history.occurrences.restore(first, {})

    def execute(self, message: Message) -> Any:  # noqa: ANN401 - as the script has it
        """Run a call, and tell the history.

        Raises:
            ReplyError: it was refused.
        """
        history = self.history
        history.set_time(self.clock_ms, self._turns.now_ms)
        try:
            reply = self.wire.run(message.call, self.clock_ms)
        except ReplyError as error:
            history.refused(message, error)
            raise
        history.note(message, reply)
        self._journal.append((self.wire.logged, history.touched))
        return reply

    def leases(self) -> int:
        """Return how many workers hold a lease."""
        (leases,) = self.wire.ask(("ZCARD", f"{self.prefix}lw"))
        return leases

    def pop(self, queue: str) -> bytes | None:
        """Take a token from a doorbell, as BLPOP does for the client that has waited longest."""
        call = Call(Script("pop", _POP, _POP_SHA), (self.prefix, queue), _as_it_is)
        return self.execute(Message(call))

    def move_clock(self, ms: int) -> None:
        """Let the clock jump."""
        self._offset_ms += ms
        self.history.has_gone_back |= ms < 0
        self._had_trouble(min(max(ms, 0), GRACED_MS))

    def forget_scripts(self) -> None:
        """Have the server forget all scripts."""
        self.wire.ask(("SCRIPT", "FLUSH"))

    def fill(self, *, is_full: bool) -> None:
        """Let the server be full, or not."""
        self.wire.ask(("CONFIG", "SET", "maxmemory", int(is_full)))

    def take_away(self, ms: float) -> None:
        """Kill the server, and have it back some time later with all it had."""
        self.wire.kill_server()
        self._return_after(ms)

    def tear(self, *, most: int, ms: float) -> list[str]:
        """Kill the server, and have it back without its last calls; return what they touched."""
        sizes = [size for size, _ in self._journal][-most:] or [self.wire.logged]
        keep = self._rng.randint(sizes[0], self.wire.logged)
        touched = [job_id for size, jobs in self._journal if size > keep for job_id in jobs]
        self._journal.clear()
        self.wire.kill_server(keep=keep)
        self._return_after(ms)
        return touched

    def restore(self, touched: list[str]) -> None:
        """Tell the history what is left."""
        prefix, history = self.prefix, self.history
        leases, deaths, limits, paused, due, last = self.wire.ask(
            ("ZRANGE", f"{prefix}lw", 0, -1, "WITHSCORES"),
            ("HGETALL", f"{prefix}o"),
            ("HGETALL", f"{prefix}lr"),
            ("SMEMBERS", f"{prefix}qp"),
            ("ZRANGE", f"{prefix}cz", 0, -1, "WITHSCORES"),
            ("HGETALL", f"{prefix}cl"),
        )
        history.limits.restore(_texts(limits), {queue.decode() for queue in paused})
        next_ms = {name: int(at) for name, at in _texts(due).items()}
        history.occurrences.restore(next_ms, _texts(last))
        ends = {name.decode(): float(end) for name, end in _pairs(leases)}
        history.true_ms = self._turns.now_ms
        history.restore(set(touched), ends, _texts(deaths), self._offset_ms)
        self._had_trouble(10_000)  # beats that it has forgotten

    def _return_after(self, ms: float) -> None:
        self.restarts += 1
        self.away_until = self._turns.now_ms + ms
        self._had_trouble(min(ms, GRACED_MS))
        self.place.admin.close()
        self.place.connect()

    def _had_trouble(self, ms: float) -> None:
        self.troubles.append((self._turns.now_ms, self._turns.now_ms + ms))

    def _look(self, job_ids: Any) -> list[Found | None]:  # noqa: ANN401 - a sequence
        return look(self.wire, self.prefix, job_ids)

    def _silence(self, incarnation: Incarnation) -> float:
        """Return for how long a worker could not have beaten since its last beat."""
        since_ms, now_ms = incarnation.renewed_at_ms, self._turns.now_ms
        own = sum(
            max(min(end, now_ms) - max(begin, since_ms), 0)
            for begin, end in incarnation.process.troubles
        )
        # A clock that jumps takes its time at once.
        return own + sum(end - begin for begin, end in self.troubles if end > since_ms)


def _texts(flat: list[bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in _pairs(flat)}


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _as_it_is(reply: Any) -> Any:  # noqa: ANN401 - a parser that does nothing
    return reply
