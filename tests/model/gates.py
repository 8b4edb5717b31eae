"""What the scripts should know of jobs with limits: lines behind gates, slots, and buckets.

Buckets are those of `aioq.core.bucket`; besides, every start is written down, so that no window of
time has more of them than its limit allows, whatever the bucket says.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from aioq.core.bucket import Bucket, Numbers
from tests.broker.gates import gate_of, slots_of


def costs_of(holds: str) -> dict[str, int]:
    """Return how many tokens of which bucket a job takes: `name:key` by cost."""
    words = (word.partition("=") for word in holds.split() if word.startswith("b:"))
    return {word[2:]: int(cost or 1) for word, _, cost in words}


class Gates:
    """All jobs that wait for limits, and all that limits know."""

    def __init__(self, limits: Mapping[str, str]) -> None:
        self.declared = dict(limits)
        self.changed: dict[str, str] = {}
        self.lines: dict[str, dict[str, list[str]]] = {}
        """The jobs behind a gate, by fair key; the keys in the order of their turns."""
        self.slots: dict[str, set[str]] = {}
        """Who holds slots."""
        self._buckets: dict[str, Bucket] = {}
        self._starts: dict[str, list[tuple[int, int]]] = {}
        """When jobs started since a limit was last changed, in us, and the tokens of each."""

    def change(self, field: str, numbers: str) -> None:
        """Set a limit at run time, "" to go back; its buckets are full then."""
        self.changed.pop(field, None)
        if numbers:
            self.changed[field] = numbers
        for instance in self.buckets_of(field):
            del self._buckets[instance]
            self._starts.pop(instance, None)

    def buckets_of(self, field: str) -> list[str]:
        """Name the buckets of a limit."""
        return [each for each in self._buckets if f"b:{each}".startswith(f"{field}:")]

    def park(self, name: str, lane: str, holds: str) -> None:
        """Put a job at the end of its line."""
        gate, fair = gate_of(lane, holds)
        self.lines.setdefault(gate, {}).setdefault(fair, []).append(name)

    def unpark(self, name: str, lane: str, holds: str) -> None:
        """Take a job out of its line."""
        gate, fair = gate_of(lane, holds)
        self.lines[gate][fair].remove(name)
        self._tidy(gate, fair)

    def head(self, gate: str) -> str | None:
        """Return who is the next to go through a gate."""
        return next((line[0] for line in self.lines.get(gate, {}).values()), None)

    def advance(self, gate: str) -> None:
        """Take the first job out of its line; its key has the next turn after all others."""
        fair, line = next(iter(self.lines[gate].items()))
        del self.lines[gate][fair]
        if line[1:]:
            self.lines[gate][fair] = line[1:]
        if not self.lines[gate]:
            del self.lines[gate]

    def _tidy(self, gate: str, fair: str) -> None:
        if not self.lines[gate][fair]:
            del self.lines[gate][fair]
        if not self.lines[gate]:
            del self.lines[gate]

    def obstacles(self, holds: str, now_us: int) -> list[str]:
        """Return what stops a job: slots that are not free, and buckets that have too little."""
        full = [slot for slot in slots_of(holds) if len(self.holders(slot)) >= self.capacity(slot)]
        costs = costs_of(holds)
        return full + [each for each in costs if self._bucket(each).wait_us(now_us, costs[each])]

    def admit(self, name: str, holds: str, now_us: int) -> None:
        """Let a job start, which nothing may stop; and see that no limit is exceeded by it."""
        assert self.obstacles(holds, now_us) == [], f"{name} starts, and may not"
        for slot in slots_of(holds):
            self.slots.setdefault(slot, set()).add(name)
            assert len(self.slots[slot]) <= self.capacity(slot)
        for instance, cost in costs_of(holds).items():
            bucket = self._bucket(instance)
            assert bucket.take(now_us, cost)
            taken = min(cost, bucket.numbers.burst)
            self._starts.setdefault(instance, []).append((now_us, taken))
            self._check_windows(instance, bucket.numbers, now_us)

    def _check_windows(self, instance: str, numbers: Numbers, now_us: int) -> None:
        """In any window there are no more starts than rate x window + burst."""
        total = 0
        for began_us, taken in reversed(self._starts[instance]):
            total += taken
            most = Fraction(numbers.rate * (now_us - began_us), numbers.per_us) + numbers.burst
            assert total <= most, f"{total} tokens of {instance} in {now_us - began_us} us"

    def release(self, name: str) -> None:
        """Take back the slots of a job whose delivery has ended."""
        for slot in [slot for slot, holders in self.slots.items() if name in holders]:
            self.slots[slot].discard(name)
            if not self.slots[slot]:
                del self.slots[slot]

    def holders(self, slot: str) -> set[str]:
        """Return who holds a slot."""
        return self.slots.get(slot, set())

    def capacity(self, slot: str) -> int:
        """Return how many may hold a slot."""
        return 1 if slot.startswith("o:") else int(self._numbers_of(slot.rpartition(":")[0]))

    def of_lane(self, lane: str) -> Iterator[str]:
        """Go through the gates of a lane."""
        return (gate for gate in list(self.lines) if gate.partition(" ")[0] == lane)

    def _bucket(self, instance: str) -> Bucket:
        if instance not in self._buckets:
            self._buckets[instance] = Bucket(self._numbers(instance))
        return self._buckets[instance]

    def _numbers(self, instance: str) -> Numbers:
        return Numbers(*map(int, self._numbers_of(f"b:{instance.partition(':')[0]}").split()))

    def _numbers_of(self, field: str) -> str:
        return self.changed.get(field, self.declared[field])
