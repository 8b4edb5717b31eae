"""Limits of the simulated jobs, and what must be true of them at every single start."""

from collections.abc import Iterable
from fractions import Fraction

from tests.broker.gates import slots_of

LIMITS = {"b:pace": "2 1000000 3", "b:bulk": "1 2000000 4", "c:slots": "2", "c:elastic": "3"}
CHANGES = {"b:pace": ("5 1000000 2", "1 1000000 5", ""), "c:elastic": ("1", "4", "")}
"""What some of them are set to at run time; "": back to what the code says."""


class Limits:
    """What is known of limits, and of the starts under them.

    The bound of a bucket holds for any window of the server's clock.  Where that was put back the
    time in between is given twice, so the windows are those of a clock which only goes on.
    """

    def __init__(self) -> None:
        self.changed: dict[str, str] = {}
        self.paused: set[str] = set()
        self._clock_ms = 0
        self._gained_ms = 0
        self._starts: dict[str, list[tuple[int, int]]] = {}

    def set_time(self, clock_ms: int) -> None:
        """Tell the time by the server's clock."""
        self._gained_ms += max(clock_ms - self._clock_ms, 0) if self._clock_ms else 0
        self._clock_ms = clock_ms

    def change(self, field: str, numbers: str) -> None:
        """Set a limit at run time."""
        self.changed.pop(field, None)
        if numbers:
            self.changed[field] = numbers
        for instance in [each for each in self._starts if each.startswith(f"{field}:")]:
            del self._starts[instance]

    def restore(self, changed: dict[str, str], paused: set[str]) -> None:
        """Go back with a server that has lost its last calls, and some starts with them."""
        self.changed, self.paused = changed, paused
        self._starts.clear()

    def capacity(self, slot: str) -> int:
        """Return how many may hold a slot."""
        return 1 if slot.startswith("o:") else int(self._numbers(slot))

    def started(self, holds: str, running: Iterable[str]) -> str:
        """Note a start; return which limit it exceeds, "" for none.

        Args:
            holds: those of the job.
            running: those of all jobs that run now, this one included.
        """
        others = list(running)
        for slot in slots_of(holds):
            count = sum(slot in slots_of(each) for each in others)
            if count > self.capacity(slot):
                return f"{count} jobs hold {slot}, which has {self.capacity(slot)} slots"
        buckets = (word.partition("=") for word in holds.split() if word.startswith("b:"))
        return next(
            filter(None, (self._take(name, int(cost or 1)) for name, _, cost in buckets)), ""
        )

    def _take(self, instance: str, cost: int) -> str:
        rate, per_us, burst = map(int, self._numbers(instance).split())
        starts = self._starts.setdefault(instance, [])
        starts.append((self._gained_ms, min(cost, burst)))
        del starts[:-50]
        total = 0
        for began_ms, taken in reversed(starts):
            total += taken
            window_ms = self._gained_ms - began_ms
            # A job may start at the end of the millisecond in which another did at its beginning.
            if total > Fraction(rate * (window_ms + 1) * 1000, per_us) + burst:
                return f"{total} tokens of {instance} were taken in {window_ms} ms"
        return ""

    def _numbers(self, instance: str) -> str:
        field = instance.rpartition(":")[0]
        return self.changed.get(field, LIMITS[field])
