"""Nothing is lost, and nothing ends twice, whatever is killed, frozen or cut off meanwhile."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.chaos import Chaos
from tests.chaos.checker import Verdict, check, numbers
from tests.chaos.evidence import Evidence, collect, story
from tests.chaos.plan import Plan

SEED = "CHAOS_SEED"
"""Names another order of faults than the usual one."""
STORIES = 5
"""How many of the offending jobs are told of in full."""

MINUTE = Plan(
    seed=1,
    jobs=4000,
    seconds=35,
    workers=3,
    faults={
        "kill a worker": 8,
        "freeze a worker for a moment": 3,
        "freeze a worker for longer than its lease": 3,
        "kill the server": 3,
        "freeze the server": 2,
        "kill all connections": 2,
        "reset a link": 3,
        "cut a reply": 15,
        "stall a link": 3,
        "hold a link for a moment": 2,
        "hold a link for longer than the lease": 2,
        "flush the scripts": 2,
        "kill a producer": 2,
        "pause the queue": 2,
    },
    drain=90,  # on a busy machine
)
TEN_MINUTES = Plan(
    seed=2,
    jobs=100_000,
    seconds=560,
    workers=5,
    faults={
        "kill a worker": 210,
        "freeze a worker for a moment": 55,
        "freeze a worker for longer than its lease": 55,
        "kill the server": 24,
        "freeze the server": 12,
        "kill all connections": 20,
        "reset a link": 30,
        "cut a reply": 200,
        "stall a link": 30,
        "hold a link for a moment": 15,
        "hold a link for longer than the lease": 15,
        "flush the scripts": 25,
        "kill a producer": 12,
        "pause the queue": 20,
    },
)


@pytest.mark.timeout(300)
def test_a_minute_of_chaos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    survive(MINUTE, tmp_path, capsys)


@pytest.mark.soak
def test_ten_minutes_of_chaos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    survive(TEN_MINUTES, tmp_path, capsys)


def survive(plan: Plan, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a plan, print its figures, and fail with the stories of the jobs that went wrong."""
    chaos = Chaos(replace(plan, seed=int(os.environ.get(SEED, plan.seed))), folder)
    zero = time.monotonic()
    try:
        chaos.run()
        evidence = collect(chaos)
    finally:
        chaos.server.stop()
    verdict = check(evidence)
    with capsys.disabled():
        sys.stdout.write(f"\n{figures(chaos, evidence, verdict)}\n")
    assert not (chaos.problems or verdict.problems), complaint(chaos, evidence, verdict, zero)
    assert chaos.drained is not None, f"not done {plan.drain:g} s after the last fault"


def figures(chaos: Chaos, evidence: Evidence, verdict: Verdict) -> str:
    """Lay the figures out."""
    plan = chaos.plan
    states: dict[str, int] = {}
    for outcome in evidence.outcomes.values():
        states[outcome.state] = states.get(outcome.state, 0) + 1
    deliveries: dict[str, int] = {}
    for run in evidence.runs:
        deliveries[run.n] = deliveries.get(run.n, 0) + 1
    said = "".join(evidence.said.values())
    drained = "never" if chaos.drained is None else f"{chaos.drained:.1f} s after the last fault"
    rows: dict[str, object] = {
        "seed, seconds, lease": f"{plan.seed}, {plan.seconds:g}, {plan.lease:g} s",
        **{f"fault: {kind}": count for kind, count in sorted(chaos.injected.items())},
        "jobs acknowledged": f"{len(evidence.acked):,}",
        **{f"jobs that ended as {state}": f"{n:,}" for state, n in sorted(states.items())},
        "runs": f"{len(evidence.runs):,}",
        "jobs that ran more than once": sum(count > 1 for count in deliveries.values()),
        "runs that ended with their process": sum(run.how == "killed" for run in evidence.runs),
        "starts under a rate limit": sum(
            len(starts) for name, starts in evidence.limits.starts.items() if name[:2] == "b:"
        ),
        "slots held at once, at most": max(
            (most for name, most in evidence.limits.most.items() if name[:2] == "c:"), default=0
        ),
        "leases lost and begun anew": said.count("was lost: others have its jobs"),
        "deliveries recovered after a lost reply": said.count("whose delivery was lost"),
        "late outcomes refused": said.count("the outcome was refused"),
        "overlaps of workers frozen or cut off": verdict.frozen_overlaps,
        "OVERLAPS of others": verdict.count("overlap"),
        "LOST": verdict.count("lost"),
        "SETTLED TWICE": verdict.count("settled twice"),
        "LEAKED keys": len(evidence.leaks),
        "PROBLEMS in all": len(verdict.problems) + len(chaos.problems),
        "everything done": drained,
    }
    return "\n".join(f"  {name:<42} {value}" for name, value in rows.items())


def complaint(chaos: Chaos, evidence: Evidence, verdict: Verdict, zero: float) -> str:
    """Tell what went wrong, and the stories of the first jobs concerned."""
    lines = chaos.problems[:5]
    lines += [f"{each.guarantee}: {each.n} {each.text}" for each in verdict.problems[:50]]
    ids: dict[str, set[str]] = {}
    for job_id, n in numbers(evidence).items():
        ids.setdefault(n, set()).add(job_id)
    concerned = dict.fromkeys(problem.n for problem in verdict.problems if problem.n)
    told = list(concerned)[:STORIES]
    lines += [story(evidence, n, sorted(ids.get(n, {n})), zero=zero) for n in told]
    return "\n".join(lines)
