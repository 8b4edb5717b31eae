"""What the server's own log says of limits: who ran at the same time, and when each job started.

It is read off the records alone, and not off the keys that limits are kept with: a job runs from
the transaction that wrote so to the one that wrote something else.
"""

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction

from aioq.core.bucket import Numbers
from aioq.core.record import Stored

CLOCK_MS = 1
"""A job may start at the end of the millisecond in which another did at its beginning."""


class LimitLog:
    """Starts and runs of jobs with limits."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        """The most jobs that held a slot at the same time, by limit: `c:name:key`."""
        self.starts: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """When jobs started, in ms, and what each has cost, by bucket: `b:name:key`."""
        self._running: defaultdict[str, set[str]] = defaultdict(set)

    def note(self, job_id: str, fields: Mapping[str, str], now_ms: int) -> None:
        """Note the state that a job has taken on."""
        for word in fields.get("h", "").split():
            name, _, cost = word.partition("=")
            if fields["s"] != Stored.RUNNING:
                self._running[name].discard(job_id)
            else:
                self._running[name].add(job_id)
                self.starts[name].append((now_ms, int(cost or 1)))

    def end(self) -> None:
        """End a transaction: what runs now runs at the same time."""
        for name, running in self._running.items():
            if len(running) > self.most.get(name, 0):
                self.most[name] = len(running)


def excess(starts: list[tuple[int, int]], numbers: Numbers) -> str:
    """Say in which window there were more starts than rate x window + burst; "" for none."""
    # As a bucket that is full at first: what it lacks is what is too much in some window.
    level, before_ms = Fraction(numbers.burst), starts[0][0] if starts else 0
    for at_ms, cost in starts:
        gain = Fraction(numbers.rate * (at_ms - before_ms) * 1000, numbers.per_us)
        level, before_ms = min(level + gain, Fraction(numbers.burst)) - cost, at_ms
        if level < -Fraction(numbers.rate * CLOCK_MS * 1000, numbers.per_us):
            return f"a start at {at_ms} came {float(-level):.3f} tokens too early"
    return ""
