"""In which order a worker asks for its lanes: by priority, and so that nobody waits for ever.

Priorities are strict, but for one fetch in eight: after seven in a row that left lower priorities
waiting, the eighth begins with the lowest.  Nothing here is left to chance, and only fetches that
brought jobs count, so the order of jobs follows from what waits.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from aioq.broker.keys import lane, suspects
from aioq.broker.scripts import Fetched

MOST_PASSES = 7
"""Fetches in a row that may pass waiting jobs of a lower priority over."""


class Lanes:
    """The lanes of some queues, in the order of the next fetch.

    Args:
        queues: names, in the order in which they go within a priority; or their weights: of as
            many fetches as all weights together, each queue goes first in as many as its own.
    """

    def __init__(self, queues: Sequence[str] | Mapping[str, int]) -> None:
        self.queues: tuple[str, ...] = tuple(queues)
        """Their names."""
        self._weights = dict(queues) if isinstance(queues, Mapping) else {}
        self._credit = dict.fromkeys(self._weights, 0)
        self._passed = 0
        # Suspects first: behind lanes that are never empty they would wait for ever.
        self._suspects = tuple(map(suspects, self.queues))
        self.all: tuple[str, ...] = (*self._suspects, *_lanes_of(self.queues))
        """Every lane that is served."""

    def order(self, *, with_suspects: bool) -> Sequence[str]:
        """Return the lanes in the order of the next fetch; the same until one brings jobs."""
        lanes = _lanes_of(self._ranked(), upwards=self._passed == MOST_PASSES)
        return (*self._suspects, *lanes) if with_suspects else lanes

    def brought(self, fetched: Fetched) -> None:
        """Take note of what a fetch in this order has brought."""
        if not fetched.deliveries:
            return
        is_answered = self._passed == MOST_PASSES
        self._passed = self._passed + 1 if fetched.passed and not is_answered else 0
        if self._weights:
            first = self._ranked()[0]
            for queue, weight in self._weights.items():
                self._credit[queue] += weight
            self._credit[first] -= sum(self._weights.values())

    def _ranked(self) -> tuple[str, ...]:
        """Return the queues in their order within a priority.

        With weights that is the smooth weighted round-robin of nginx: each turn adds to every
        queue its weight, and whoever has most goes first and pays the sum of all weights.
        """
        if not self._weights:
            return self.queues
        weights, credit = self._weights, self._credit
        return tuple(sorted(weights, key=lambda queue: -credit[queue] - weights[queue]))


@lru_cache(maxsize=256)
def _lanes_of(queues: tuple[str, ...], *, upwards: bool = False) -> tuple[str, ...]:
    """Return the lanes of some queues: by priority, and by the order of the queues within."""
    levels = range(10) if upwards else range(9, -1, -1)
    return tuple(lane(queue, priority) for priority in levels for queue in queues)
