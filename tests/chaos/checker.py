"""The guarantees, checked against the evidence of a run.

Each check yields what is wrong, with the number of the job; nothing yielded means that it held.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations, groupby, pairwise
from typing import NamedTuple

from aioq.core.record import Stored
from tests.chaos.app import RATE, SLOTS, answer
from tests.chaos.evidence import Evidence, Outcome, Run
from tests.chaos.history import FINAL, Change, History
from tests.chaos.limit_log import excess

MARGIN = 0.3
"""Seconds by which clocks of this kind may differ on a busy machine."""
STRANDED = 7.0
"""Seconds for which a delivery may lie with a worker that has lost its reply: it gives a connection
up when a reply is 2.5 s late, and asks again after at most 2 s; on a busy machine later."""
_HELD = {Stored.QUEUED, Stored.RUNNING}


class Problem(NamedTuple):
    """One guarantee that did not hold."""

    n: str
    """The number of the job; "" where it is about no single one."""
    guarantee: str
    text: str


class Verdict(NamedTuple):
    """What the checks have found."""

    problems: list[Problem]
    frozen_overlaps: int
    """Jobs that overlapped themselves as they may: their first worker was frozen or cut off."""

    def count(self, guarantee: str) -> int:
        """Count the problems of one kind."""
        return sum(problem.guarantee == guarantee for problem in self.problems)


def check(evidence: Evidence) -> Verdict:
    """Check everything."""
    overlaps = list(_overlaps(evidence))
    problems = [
        *_lost(evidence),
        *_wrong_ends(evidence),
        *_wrong_lives(evidence),
        *_twice(evidence),
        *(problem for problem in overlaps if problem is not None),
        *_needless(evidence),
        *_stranded(evidence),
        *_early(evidence),
        *_miscounted(evidence),
        *_over_limits(evidence),
        *_complaints(evidence),
        *(Problem(n, "unheard", "its result was never heard of") for n in evidence.unheard),
        *(Problem("", "leak", text) for text in evidence.leaks),
    ]
    return Verdict(problems, overlaps.count(None))


def numbers(evidence: Evidence) -> dict[str, str]:
    """Return the number of each job, by its id."""
    found = {run.job_id: run.n for run in evidence.runs}
    return found | {job_id: n for n, job_id in evidence.acked.items()}


def _lost(evidence: Evidence) -> Iterator[Problem]:
    """G1: what was acknowledged has ended."""
    for n, job_id in evidence.acked.items():
        known = evidence.histories.get(job_id)
        if known is None or not known.changes:
            yield Problem(n, "lost", "it was acknowledged, and the server has never had it")
        elif known.changes[-1].state not in FINAL:
            yield Problem(n, "lost", f"it is still in state {known.changes[-1].state}")


def _wrong_ends(evidence: Evidence) -> Iterator[Problem]:
    """G1: each job has ended as it was to end, and not without having run."""
    names = numbers(evidence)
    returned = {run.job_id for run in evidence.runs if run.how == "returned"}
    for job_id, outcome in evidence.outcomes.items():
        n = names.get(job_id, "")
        if n and outcome not in (fitting := _fitting(evidence, n)):
            yield Problem(n, "wrong end", f"it ended as {outcome}, which is none of {fitting}")
        if outcome.state == "SUCCESS" and job_id not in returned:
            yield Problem(n, "wrong end", "it succeeded without a run that has returned")


def _fitting(evidence: Evidence, n: str) -> list[Outcome]:
    if n not in evidence.sent:
        return []
    kind = evidence.sent[n].kind
    if kind == "doomed":
        return [Outcome("FAILURE", "tests.chaos.app.Expected")]
    success = Outcome("SUCCESS", answer(n, 2000 if kind == "bulky" else 0))
    if kind != "revoked":
        return [success]
    revoked = Outcome("REVOKED", "")
    # False: it had ended already; also by this very revoke, sent again after a lost reply.
    # No answer at all: the producer was killed before or after it had asked.
    return [revoked] if evidence.revokes.get(n) == "True" else [revoked, success]


def _wrong_lives(evidence: Evidence) -> Iterator[Problem]:
    """G2, G3: one end, nothing after it, and each delivery ended by its own token."""
    names = numbers(evidence)
    for job_id, known in evidence.histories.items():
        for guarantee, text in _flaws(known):
            yield Problem(names.get(job_id, job_id), guarantee, text)


def _flaws(known: History) -> Iterator[tuple[str, str]]:
    ends = [change for change in known.changes if change.state in FINAL]
    if len(ends) > 1:
        yield "settled twice", f"it has ended {len(ends)} times"
    changes = known.changes
    for before, after in pairwise(changes):
        if before.state in FINAL and after.state not in FINAL:
            yield "came back", f"it had ended as {before.state}, and then was {after.state}"
        if before.state in _HELD and not _is_delivery(before, after) and not after.has_ended_entry:
            yield "unfenced", f"{before} became {after} without an end of its own entry"
    entries = [_order(entry) for entry, _ in groupby(each.entry for each in changes if each.entry)]
    if entries != sorted(set(entries)):
        yield "unfenced", f"its tokens do not grow: {entries}"


def _is_delivery(before: Change, after: Change) -> bool:
    return after.state == Stored.RUNNING and before.entry == after.entry


def _order(entry: str) -> tuple[int, ...]:
    return tuple(map(int, entry.split("-")))


def _twice(evidence: Evidence) -> Iterator[Problem]:
    """G2, G5: one job per number, one start per delivery, and no run of a job nobody has sent."""
    jobs: defaultdict[str, set[str]] = defaultdict(set)
    for run in evidence.runs:
        jobs[run.n].add(run.job_id)
    for n, job_id in evidence.acked.items():
        jobs[n].add(job_id)
    for n, ids in jobs.items():
        if len(ids) > 1:
            yield Problem(n, "enqueued twice", f"it is {len(ids)} jobs: {sorted(ids)}")
        if n not in evidence.sent:
            yield Problem(n, "phantom", "it ran, and nobody has sent it")
    starts = Counter((run.n, run.delivery) for run in evidence.runs)
    for (n, delivery), count in starts.items():
        if count > 1:
            yield Problem(n, "started twice", f"delivery {delivery} began {count} times")


def _overlaps(evidence: Evidence) -> Iterator[Problem | None]:
    """G4: two runs at once only where the first worker was silent for long; None for those."""
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for run in evidence.runs:
        runs[run.n].append(run)
    for n, several in runs.items():
        several.sort(key=lambda run: run.delivery)
        for first, second in combinations(several, 2):
            if second.began >= first.ended or first.began >= second.ended:
                continue
            if _was_silent(evidence, first, second):
                yield None
            else:
                text = f"run {second.delivery} began before run {first.delivery} had ended"
                yield Problem(n, "overlap", text)


def _was_silent(evidence: Evidence, first: Run, second: Run) -> bool:
    """Tell whether the first worker was frozen or cut off long enough to lose its lease.

    A silence that begins just before a beat is due may be a third of the lease shorter.  An outage
    of the server is no excuse by itself, and adds to a silence that it follows.  What a worker was
    handed right before it froze begins when it goes on, and so after the run elsewhere.
    """
    enough = evidence.lease * 2 / 3 - MARGIN
    since = min(first.began, second.began - evidence.lease)
    until = max(first.began, second.began)
    own = [span for span in evidence.silences[first.worker] if _touches(span, since, until)]
    spans = sorted([*own, *evidence.outages])
    merged: list[tuple[float, float]] = []
    for since, end in spans:
        if merged and since - merged[-1][1] < evidence.lease / 3 + MARGIN:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((since, end))
    return any(
        end - since >= enough and any(since <= mine[0] <= end for mine in own)
        for since, end in merged
    )


def _touches(span: tuple[float, float], since: float, until: float) -> bool:
    return span[0] < until and span[1] > since


def _needless(evidence: Evidence) -> Iterator[Problem]:
    """G10, G11: what has returned runs again only where its worker died or was silent for long."""
    runs = {(run.n, run.delivery): run for run in evidence.runs}
    for run in evidence.runs:
        again = runs.get((run.n, run.delivery + 1))
        if run.how != "returned" or again is None or evidence.ended[run.worker] <= again.began:
            continue
        if not _was_silent(evidence, run, again):
            text = f"run {run.delivery} had returned, its worker lived, and it ran again"
            yield Problem(run.n, "needless run", text)


def _stranded(evidence: Evidence) -> Iterator[Problem]:
    """G10: what a worker was handed it starts, or gives back; but for the time of an outage."""
    names = numbers(evidence)
    started = {(run.job_id, run.delivery) for run in evidence.runs}
    for job_id, known in evidence.histories.items():
        for before, after in pairwise(known.changes):
            if before.state != Stored.RUNNING or (job_id, before.delivery) in started:
                continue
            pid = before.worker[: -len("-abcd")].rpartition("-")[2]
            worker = evidence.by_pid.get(pid, "")
            since = before.at_ms / 1000 - evidence.shift
            until = min(after.at_ms / 1000 - evidence.shift, evidence.ended.get(worker, since))
            silences = [*evidence.silences.get(worker, []), *evidence.outages]
            lost = sum(max(min(end, until) - max(begin, since), 0) for begin, end in silences)
            if until - since - lost > STRANDED:
                text = f"delivery {before.delivery} lay with {worker} for {until - since:.1f} s"
                yield Problem(names.get(job_id, job_id), "stranded", text)


def _early(evidence: Evidence) -> Iterator[Problem]:
    """G6: nothing runs before it is due."""
    for run in evidence.runs:
        known = evidence.histories.get(run.job_id)
        due_ms = known.first_due_ms if known else None
        if due_ms is not None and run.wall * 1000 < due_ms - 1:
            early = due_ms / 1000 - run.wall
            yield Problem(run.n, "early", f"it began {early:.3f} s before it was due")


def _miscounted(evidence: Evidence) -> Iterator[Problem]:
    """G9: a retry was counted for each error of the task, and for nothing else."""
    names = numbers(evidence)
    for job_id, known in evidence.histories.items():
        n = names.get(job_id, "")
        sent = evidence.sent.get(n)
        if sent is None or not known.changes or known.changes[-1].state != Stored.COMPLETED:
            continue
        counted = int(known.fields.get("e", 0))
        if counted != sent.failures:
            text = f"{counted} retries are counted, and its task has raised {sent.failures} times"
            yield Problem(n, "miscounted", text)


def _over_limits(evidence: Evidence) -> Iterator[Problem]:
    """G7: never more holders than slots, and in no window more starts than the rate allows."""
    for name, most in evidence.limits.most.items():
        if name.startswith("c:") and most > SLOTS:
            yield Problem("", "limit", f"{most} jobs of {name} ran at the same time")
    for name, starts in evidence.limits.starts.items():
        if name.startswith("b:") and (text := excess(starts, RATE.numbers)):
            yield Problem("", "limit", f"{name}: {text}")


def _complaints(evidence: Evidence) -> Iterator[Problem]:
    """What no weather explains: a worker's critical lines, and errors of ours."""
    for name, said in evidence.said.items():
        for words in _COMPLAINTS:
            if words in said:
                at = said.index(words)
                yield Problem("", "complaint", f"{name}: {said[max(at - 100, 0) : at + 1000]}")


_COMPLAINTS = (
    "CRITICAL",
    "could not be settled",
    "could not be renewed",
    ": its outcome",
    "was never retrieved",
    "Unhandled exception",
    "Removed an entry",
    "Exception in thread",
)
