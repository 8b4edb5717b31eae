"""A session of benchmarks: who takes part, how often, and what went wrong.

Contenders take turns (A B A B A B), since the speed of a shared machine drifts: figures taken half
an hour apart cannot be compared, and a single one says nothing.  Medians are compared.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from benchmarks.budgets import Budget
from benchmarks.harness import JobsLost, Run, open_run
from benchmarks.processes import Contender, ContestantFailed

T = TypeVar("T")

BARE, AIOQ = "bare", "aioq"


class Size(NamedTuple):
    """How much of something, in a measurement and in a smoke test."""

    full: int
    quick: int


class Samples(NamedTuple):
    """The figures of several rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure that is compared."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values)


@dataclass(frozen=True)
class Row:
    """One line of the table: a budget and what was measured."""

    budget: Budget
    samples: dict[str, Samples]

    @property
    def ratio(self) -> float | None:
        """The median of aioq over that of the bare loop, where both have one."""
        bare, aioq = self.samples.get(BARE), self.samples.get(AIOQ)
        return aioq.median / bare.median if aioq and bare and bare.median else None

    @property
    def holds(self) -> bool | None:
        """Whether aioq keeps the budget; None where it was not measured or has none."""
        bare, aioq = self.samples.get(BARE), self.samples.get(AIOQ)
        return self.budget.holds(aioq.median, bare.median if bare else None) if aioq else None


@dataclass
class Session:
    """What the benchmarks share."""

    contenders: Sequence[Contender]
    quick: bool
    rounds: int
    tcp: bool = False
    failures: list[str] = field(default_factory=list[str])
    """Contenders that did not work, each with its last words."""
    losses: list[str] = field(default_factory=list[str])
    """Runs in which jobs were lost or ran twice."""

    def size(self, size: Size) -> int:
        """Return the size for this session."""
        return size.quick if self.quick else size.full

    def alternate(
        self,
        once: Callable[[Run], T],
        *,
        jobs: int,
        rounds: int | None = None,
        only: str | None = None,
    ) -> dict[str, list[T]]:
        """Measure every contender (or `only` one) in turn; one that fails sits out the rest."""
        results: dict[str, list[T]] = {}
        out: set[str] = set()
        for _ in range(rounds or self.rounds):
            for contender in self.contenders:
                if contender.name in out or only not in (None, contender.name):
                    continue
                try:
                    with open_run(contender, jobs, tcp=self.tcp) as run:
                        results.setdefault(contender.name, []).append(once(run))
                except ContestantFailed as failure:
                    self.failures.append(str(failure))
                    out.add(contender.name)
                except JobsLost as loss:
                    self.losses.append(f"{contender.name}: {loss}")
                    out.add(contender.name)
        return {name: figures for name, figures in results.items() if name not in out}


def row(budget: Budget, results: dict[str, list[T]], figure: Callable[[T], float]) -> Row:
    """Make a row from one figure of each result."""
    return Row(
        budget,
        {name: Samples(tuple(figure(one) for one in many)) for name, many in results.items()},
    )
