"""The speed budgets of the engine, one constant per row, and whether a figure holds them.

The numbers are promises: to change one is a decision about the product, not about a benchmark.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What is measured, and its bound; a row without a bound is shown for information."""

    work: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    of_bare: bool = False
    """The bound is a share of the bare loop's figure in the same run."""

    def holds(self, figure: float, bare: float | None) -> bool | None:
        """Say whether a figure keeps the budget; None where nothing says."""
        if self.of_bare and bare is None:
            return None
        scale = bare if self.of_bare and bare is not None else 1.0
        if self.at_least is not None:
            return figure >= self.at_least * scale
        if self.at_most is not None:
            return figure <= self.at_most * scale
        return None

    def __str__(self) -> str:
        bound = self.at_least if self.at_least is not None else self.at_most
        if bound is None:
            return "-"
        sign = "≥" if self.at_least is not None else "≤"
        return f"{sign} {bound:g} x bare" if self.of_bare else f"{sign} {bound:g} {self.unit}"


DRAIN = {
    1000: Budget("drain, no-op, concurrency 1,000", "jobs/s", at_least=0.5, of_bare=True),
    100: Budget("drain, no-op, concurrency 100", "jobs/s", at_least=0.5, of_bare=True),
}
WORKER_CPU = Budget("CPU per job in that drain (1,000): worker", "µs", at_most=30)
SERVER_CPU = Budget("CPU per job in that drain (1,000): server", "µs", at_most=20)
READS = Budget("server reads per job in that drain (1,000)", "reads")
SLEEP = Budget("5,000 jobs of 50 ms, concurrency 500", "of ideal", at_least=0.85)
ROUND_TRIP_P50 = Budget("round trip, idle system, p50", "ms", at_most=2, of_bare=True)
ROUND_TRIP_P99 = Budget("round trip, idle system, p99", "ms")
ENQUEUE = Budget("single awaited enqueue", "jobs/s", at_least=0.8, of_bare=True)
ENQUEUE_CPU = Budget("CPU per single enqueue: server", "µs")
ENQUEUE_MANY = Budget("enqueue_many", "jobs/s", at_least=0.5, of_bare=True)
BURST_P99 = Budget("5,000 due in the same instant: lateness p99", "ms", at_most=250)
EVENLY_P50 = Budget("due evenly at 250/s: lateness p50", "ms", at_most=2)
EVENLY_P99 = Budget("due evenly at 250/s: lateness p99", "ms", at_most=10)
NEVER_EARLY = Budget("earliest start after the due time, of all these", "ms", at_least=0)
IDLE_COMMANDS = Budget("idle worker: commands", "commands/s", at_most=0.5)
IDLE_CPU = Budget("idle worker: CPU", "%", at_most=0.5)
IDLE_CONNECTIONS = Budget("idle worker: connections", "connections", at_most=4)
FINISHED_MEMORY = Budget("server memory per finished job, small result", "B", at_most=200)
QUEUED_MEMORY = Budget("server memory per queued job, 100-byte payload", "B", at_most=400)
RSS_GROWTH = Budget("worker RSS after 1,000,000 jobs", "of that after 100,000", at_most=1.05)
WAITERS = Budget("10,000 waiters in one process", "extra connections", at_most=1)
SHALLOW_RATE = Budget("first 10,000 jobs of 10,000 queued", "jobs/s")
DEEP_RATE = Budget("first 10,000 jobs of 1,000,000 queued", "jobs/s")
DEPTH = Budget("drain rate at 1,000,000 queued", "of that at 10,000", at_least=0.9)
