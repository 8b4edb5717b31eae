"""Large workflows: no call of a script holds the server for long, and memory grows in a line.

What a call costs is counted in commands, for a busy machine makes any time longer; the long run,
on a machine of its own, measures the server's own time as well.
"""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import pytest

from aioq.broker import letters, plans
from aioq.broker.plans import NewNode
from aioq.broker.scripts import Call
from aioq.core import codec
from tests.broker.calls import fetch, outcome, settle
from tests.broker.place import Place
from tests.broker.test_plans import ONE, node, state

pytestmark = pytest.mark.broker
log: logging.Logger = logging.getLogger(__name__)
T = TypeVar("T")

BOOM = codec.encode_error(ValueError("boom"))
MOST = 250
"""Jobs that one call makes, hands out or settles."""
COMMANDS = 6500
"""As many as a script may call in 5 ms, at less than a microsecond each."""
BUDGET_MS = 5.0
PATIENCE = 0.01
"""The part of all calls that may be longer where the measured process was interrupted."""


class Cost(NamedTuple):
    """What one call of a script has cost the server."""

    commands: int
    ms: float
    script: str


class Meter:
    """Measures every call of a place."""

    def __init__(self, place: Place) -> None:
        self._place, self._run = place, place.run
        self.costs: list[Cost] = []
        pid = int(_field(place, "server", "process_id"))
        self._clock = f"/proc/{pid}/task/{pid}/schedstat"
        place.run = self.run

    def run(self, call: Call[T]) -> T:
        before, commands = self._cpu_ms(), _commands(self._place)
        reply = self._run(call)
        after = self._cpu_ms()
        spent = _commands(self._place) - commands
        self.costs.append(Cost(spent, after - before, call.script.name))
        return reply

    def report(self, what: str, jobs: int) -> None:
        costs, self.costs = sorted(self.costs, reverse=True), []
        times = sorted((cost.ms for cost in costs), reverse=True)
        total = sum(times)
        log.info(
            "%s: %d calls, %.1f us a job, at most %s; %.2f ms at most, %.2f ms in 99 of 100",
            what,
            len(costs),
            total * 1000 / jobs,
            costs[0],
            times[0],
            times[int(len(times) * PATIENCE)],
        )
        assert costs[0].commands <= COMMANDS, (what, costs[:3])
        if os.environ.get("AIOQ_TEST_TIMES"):
            assert times[int(len(times) * PATIENCE)] <= BUDGET_MS, (what, times[:5])

    def _cpu_ms(self) -> float:
        try:
            with open(self._clock) as file:  # noqa: PTH123 - read for each call
                return int(file.read().split()[0]) / 1e6
        except OSError:  # no Linux
            return 0.0


def _field(place: Place, section: str, name: str) -> str:
    lines = place.admin("INFO", section).decode().splitlines()
    return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))


def _commands(place: Place) -> int:
    """Return how many commands the server has run, those of scripts among them."""
    stats = place.admin("INFO", "commandstats").decode().splitlines()
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in stats if "=" in line)


def memory(place: Place) -> int:
    return int(_field(place, "memory", "used_memory"))


def send(place: Place, nodes: Sequence[NewNode]) -> None:
    """Send a plan in parts, the root first."""
    root, mode = nodes[0].job_id, "f"
    for some in plans.parts(nodes):
        call = plans.plan(
            place.prefix, root=root, mode=mode, keep_ms=3_600_000, count=len(some), nodes=some
        )
        assert place.run(call)
        mode = "p"


def drain(place: Place, op: str = "c", value: bytes = ONE) -> int:
    """Run all jobs to their end; return how many."""
    ran, given = 0, 3_600_000 if op == "c" else ""
    place.lease("w1")
    while True:
        has_errands = place.admin("EXISTS", f"{place.prefix}gl")
        deliveries = fetch(place, room=MOST).deliveries
        if deliveries:
            settle(place, *[outcome(each, op, given, value) for each in deliveries], dead_max=10**9)
        elif not has_errands:
            return ran
        ran += len(deliveries)


def group(count: int) -> list[NewNode]:
    members = [node(f"{n:032}", tells=f">all:{n}") for n in range(count)]
    return [node("all", needs=count + 1, kind="g", task="aioq.group"), *members]


def measure_group(place: Place, count: int) -> None:
    meter, empty = Meter(place), memory(place)
    send(place, group(count))
    meter.report("group filled", count)
    filled = (memory(place) - empty) / count
    place.run(plans.seal(place.prefix, root="all"))
    place.run(plans.gather(place.prefix, job_id="all", first=0, count=1))
    assert drain(place) == count
    meter.report("group drained", count)
    ended = (memory(place) - empty) / count
    assert state(place, "all") == "c"
    log.info("group of %d: %.0f bytes a member that waits, %.0f ended", count, filled, ended)


def measure_fan(place: Place, count: int) -> None:
    """One job that very many wait for: it succeeds, and in another plan it fails."""
    words = " ".join(f">d{n}:0" for n in range(count))
    dependents = [node(f"d{n}", 1, f">all:{n}") for n in range(count)]
    nodes = [node("all", count + 1, kind="g"), node("a", tells=words), *dependents]
    meter = Meter(place)
    send(place, nodes)
    meter.report("fan filled", count)
    place.run(plans.seal(place.prefix, root="all"))
    assert drain(place) == count + 1
    meter.report("fan drained", count)
    assert state(place, "all") == "c"
    place.admin("FLUSHDB")
    send(place, nodes)
    place.run(plans.seal(place.prefix, root="all"))
    meter.costs.clear()
    assert drain(place, "f", BOOM) == 1
    meter.report("fan failed", count)
    assert state(place, f"d{count - 1}") == "f"


def measure_chain(place: Place, count: int) -> None:
    steps = [
        node(f"s{n}", int(n > 0), f">s{n + 1}:0" if n < count - 1 else "") for n in range(count)
    ]
    meter = Meter(place)
    send(place, [steps[-1], *steps[:-1]])
    place.run(plans.seal(place.prefix, root=f"s{count - 1}"))
    meter.report("chain filled", count)
    assert drain(place, "f", BOOM) == 1
    assert state(place, f"s{count - 1}") == "f"
    meter.report("chain failed", count)
    replay(place, f"s{count - 1}")
    meter.report("chain replayed", count)


def measure_join(place: Place, count: int) -> None:
    members = [node(f"{n:032}", tells=f">body:{n}") for n in range(count)]
    meter = Meter(place)
    send(place, [node("body", count), *members])
    place.run(plans.seal(place.prefix, root="body"))
    assert drain(place, "f", BOOM) == count
    assert state(place, "body") == "f"
    meter.report("join failed", count)
    replay(place, "body")
    meter.report("join replayed", count)
    assert drain(place) == count + 1
    meter.report("join drained", count)
    assert place.admin("EXISTS", f"{place.prefix}g:body", f"{place.prefix}gx:body") == 0


def measure_revoke(place: Place, count: int) -> None:
    meter = Meter(place)
    send(place, group(count))
    place.run(plans.seal(place.prefix, root="all"))
    meter.costs.clear()
    steps = plans._revoking(place.prefix, "all", at_once=True, keep_ms=0)  # pyright: ignore[reportPrivateUsage]
    call: Call[Any] = next(steps)
    while True:
        try:
            call = steps.send(place.run(call))
        except StopIteration:
            break
    meter.report("revoked", count)
    assert drain(place) == 0


def replay(place: Place, job_id: str) -> None:
    verdict, nonce = "M", 0
    while verdict == "M":
        nonce += 1
        call = letters.replay(place.prefix, nonce=str(nonce), job_ids=[job_id])
        verdict = place.run(call)


MEASURES = [measure_group, measure_fan, measure_chain, measure_join, measure_revoke]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda each: each.__name__)
def test_no_call_of_a_large_workflow_does_much(
    place: Place, measure: Callable[[Place, int], None]
) -> None:
    measure(place, 3000)


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("measure", MEASURES, ids=lambda each: each.__name__)
def test_no_call_of_a_workflow_of_a_hundred_thousand_does_much(
    place: Place, measure: Callable[[Place, int], None]
) -> None:
    measure(place, 10_000 if measure is measure_chain else 100_000)
