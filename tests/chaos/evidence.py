"""What a run of chaos has left behind, put together for the checker."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aioq import JobNotFound, ResultExpired, Revoked, TaskFailed
from tests.broker.place import Place
from tests.chaos import history, journal
from tests.chaos.actors import Life, Slot
from tests.chaos.app import app
from tests.chaos.chaos import PREFIX, Chaos
from tests.chaos.history import History
from tests.chaos.limit_log import LimitLog

_AT_A_TIME = 2000


class Sent(NamedTuple):
    """One job, as its producer meant it."""

    kind: str
    failures: int


class Run(NamedTuple):
    """One run of a job."""

    n: str
    job_id: str
    delivery: int
    worker: str
    began: float
    ended: float
    how: str
    """returned, raised, left (cancelled), or killed with its process."""
    wall: float
    """When it began, by the machine's calendar clock."""


class Outcome(NamedTuple):
    """How a job ended, by its handle."""

    state: str
    """SUCCESS, FAILURE, REVOKED, or what was raised in place of an end."""
    value: str


@dataclass
class Evidence:
    """Everything that is known of one run of chaos."""

    lease: float
    sent: dict[str, Sent] = field(default_factory=dict[str, Sent])
    """By number."""
    acked: dict[str, str] = field(default_factory=dict[str, str])
    """Job id by number."""
    revokes: dict[str, str] = field(default_factory=dict[str, str])
    """What the revoke of a number has said."""
    unheard: list[str] = field(default_factory=list[str])
    """Numbers for whose result somebody waited to the end, and in vain."""
    runs: list[Run] = field(default_factory=list[Run])
    histories: dict[str, History] = field(default_factory=dict[str, History])
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    silences: dict[str, list[tuple[float, float]]] = field(
        default_factory=dict[str, list[tuple[float, float]]]
    )
    """When each worker was frozen or cut off."""
    outages: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """When the server was away."""
    leaks: list[str] = field(default_factory=list[str])
    said: dict[str, str] = field(default_factory=dict[str, str])
    """What each worker has said on stderr."""
    ended: dict[str, float] = field(default_factory=dict[str, float])
    """When each worker was dead."""
    by_pid: dict[str, str] = field(default_factory=dict[str, str])
    """The worker of each process id, which is a part of the names that aioq knows it by."""
    limits: LimitLog = field(default_factory=LimitLog)
    """What the server's log says of jobs with limits."""
    shift: float = 0
    """What to add to the monotonic clock to have the server's."""


def collect(chaos: Chaos) -> Evidence:
    """Put together what the processes have written down, and what the server knows."""
    shift = time.time() - time.monotonic()
    evidence = Evidence(chaos.plan.lease, outages=chaos.outages, shift=shift)
    for slot in chaos.producers:
        for life in slot.lives:
            _add_producer(evidence, life, is_last=life is slot.life)
    for slot in chaos.workers:
        _add_workers(evidence, slot, chaos.links.gaps)
    place = Place(chaos.server.url)
    evidence.leaks = place.problems()
    place.admin.close()
    evidence.histories, evidence.limits = history.read(chaos.server.directory, PREFIX)
    job_ids = {*evidence.histories, *evidence.acked.values()}
    evidence.outcomes = asyncio.run(_outcomes(chaos.server.url, job_ids))
    return evidence


def _add_producer(evidence: Evidence, life: Life, *, is_last: bool) -> None:
    waits: set[str] = set()
    for kind, _, words in journal.read(life.journal):
        if kind == "sent":
            evidence.sent[words[0]] = Sent(words[1], int(words[2]))
        elif kind == "acked":
            evidence.acked[words[0]] = words[1]
        elif kind == "revoke":
            evidence.revokes[words[0]] = words[1]
        elif kind == "waits":
            waits.add(words[0])
        elif kind == "heard":
            waits.discard(words[0])
    if is_last:
        evidence.unheard += waits


def _add_workers(evidence: Evidence, slot: Slot, gaps: list[tuple[float, float]]) -> None:
    for life in slot.lives:
        evidence.said[life.name] = life.stderr.read_text()
        evidence.ended[life.name] = life.ended
        evidence.by_pid[str(life.pid)] = life.name
        silences = [*slot.silences, *gaps]
        lines = list(journal.read(life.journal))
        silences += [(float(words[0]), at) for kind, at, words in lines if kind == "gap"]
        evidence.silences[life.name] = silences
        evidence.runs += _runs(life.name, life.ended, lines)


def _runs(worker: str, ended: float, lines: Iterable[journal.Line]) -> list[Run]:
    """Pair the starts with the ends; what has no end ended with its process."""
    open_runs: dict[tuple[str, ...], Run] = {}
    found: list[Run] = []
    for kind, at, words in lines:
        if kind == "start":
            n, job_id, delivery, wall = words
            run = Run(n, job_id, int(delivery), worker, at, ended, "killed", float(wall))
            open_runs[words[:3]] = run
        elif kind in {"returned", "raised", "left"}:
            found.append(open_runs.pop(words[:3])._replace(ended=at, how=kind))
    return found + list(open_runs.values())


async def _outcomes(url: str, job_ids: Iterable[str]) -> dict[str, Outcome]:
    """Ask each job's handle how it ended."""
    waiting = list(job_ids)
    found: dict[str, Outcome] = {}
    with app.connected_to(url):
        async with app:
            for start in range(0, len(waiting), _AT_A_TIME):
                part = waiting[start : start + _AT_A_TIME]
                outcomes = await asyncio.gather(*map(_outcome, part))
                found |= dict(zip(part, outcomes, strict=True))
    return found


async def _outcome(job_id: str) -> Outcome:
    try:
        return Outcome("SUCCESS", await app.job(job_id).result(timeout=0))
    except TaskFailed as error:
        return Outcome("FAILURE", error.exc_type)
    except Revoked:
        return Outcome("REVOKED", "")
    except (JobNotFound, ResultExpired, TimeoutError) as error:
        return Outcome(type(error).__name__, str(error))


def story(evidence: Evidence, n: str, job_ids: Iterable[str], *, zero: float) -> str:
    """Tell all that is known of one job."""
    sent = evidence.sent.get(n)
    lines = [f"{n}: {sent}, acknowledged as {evidence.acked.get(n)}"]
    if n in evidence.revokes:
        lines.append(f"  revoke said {evidence.revokes[n]}")
    told: list[tuple[float, str]] = []
    for job_id in job_ids:
        known = evidence.histories.get(job_id)
        lines.append(f"  job {job_id}: {evidence.outcomes.get(job_id)}")
        if known is None:
            continue
        lines.append(f"    record: {known.fields}")
        for change in known.changes:
            what = f"state {change.state} {change.entry} {change.worker} {change.has_ended_entry}"
            told.append((change.at_ms / 1000 - evidence.shift, what))
    workers: set[str] = set()
    for run in evidence.runs:
        if run.n == n:
            workers.add(run.worker)
            told.append((run.began, f"run {run.delivery} begins on {run.worker}"))
            told.append((run.ended, f"run {run.delivery} on {run.worker}: {run.how}"))
    lines += [f"  {at - zero:9.3f}  {what}" for at, what in sorted(told)]
    lines += [
        f"  {name} silent: {_spans(evidence.silences, name, zero)}" for name in sorted(workers)
    ]
    return "\n".join(lines)


def _spans(silences: Mapping[str, list[tuple[float, float]]], name: str, zero: float) -> str:
    spans = sorted(silences.get(name, []))
    return ", ".join(f"{since - zero:.2f}-{until - zero:.2f}" for since, until in spans) or "never"
