"""What the scripts should do, in plain Python: no streams, no scripts, no server.

A job is in exactly one place, its record says which, and everything else follows from that.
"""

from dataclasses import dataclass
from typing import Any

from aioq.broker.scripts import NewJob, Settlement
from tests.broker.place import CURRENT, record

FINAL = {"completed", "failed", "revoked"}


@dataclass
class Job:
    """One job, under the names that `Place.dump` gives to the fields of its record."""

    job_id: str
    lane: str
    payload: bytes
    enqueued: int
    state: str = "queued"
    nonce: str | None = None
    due: int | None = None
    expires: int | None = None
    started: int | None = None
    finished: int | None = None
    worker: str | None = None
    ended: int | None = None
    retries: int | None = None
    unknown_since: int | None = None
    token: bytes | None = None
    """The last one that was handed out; no other can be used."""
    value: bytes | None = None
    """What is kept of its end, where it is small."""
    error: bytes | None = None
    """The error of its last try, or a large value of its end; in a key of its own."""

    @property
    def promoted_at(self) -> int:
        """When it leaves the delayed set: when it is due, or expires."""
        due = self.due or 0
        return due if self.expires is None else min(due, self.expires)


class Model:
    """All jobs of an app."""

    def __init__(self, now: int, dead_max: int) -> None:
        self.now = now
        self.dead_max = dead_max
        self.jobs: dict[str, Job] = {}
        self.lanes: dict[str, list[Job]] = {}
        self.dead: dict[str, int] = {}

    def enqueue(self, new: NewJob) -> bool:
        """Create a job, unless its id is known; tell whether this call made it."""
        known = self.jobs.get(new.job_id)
        if known:
            return new.nonce in {"", known.nonce}
        job = Job(new.job_id, new.lane, new.payload, self.now, nonce=new.nonce or None)
        job.expires = self.now + int(new.expires) if new.expires else None
        self.jobs[job.job_id] = job
        if new.due and int(new.due) > 0:
            job.state, job.due = "delayed", self.now + int(new.due)
        else:
            self._queue(job)
        return True

    def fetch(self, worker: str, room: int, lanes: list[str]) -> list[Job]:
        """Promote what is due, then hand out jobs."""
        due = [j for j in self.jobs.values() if j.state == "delayed" and j.promoted_at <= self.now]
        for job in sorted(due, key=lambda job: (job.promoted_at, job.job_id)):
            if not self._expire(job):
                self._queue(job)
        taken: list[Job] = []
        for lane in lanes:
            for job in [job for job in self.lanes.get(lane, []) if job.state == "queued"]:
                if len(taken) == room:
                    break
                if self._expire(job):
                    self.lanes[lane].remove(job)
                    continue
                job.state, job.worker, job.started = "running", worker, self.now - job.enqueued
                taken.append(job)
        return taken

    def settle(self, words: list[Settlement]) -> str:
        """Say the last word on some deliveries: all are judged before anything changes."""
        verdicts = [self._judge(word) for word in words]
        for word, verdict in zip(words, verdicts, strict=True):
            if verdict == "K":
                self._apply(self.jobs[word.job_id.decode()], word)
        return "".join(verdicts)

    def _judge(self, word: Settlement) -> str:
        job = self.jobs.get(word.job_id.decode())
        if job is None:
            return "G"
        if job.state in FINAL:
            return "D"
        if job.token != word.entry_id or job.state == "queued":
            return "S"
        return "K" if job.state == "running" else "D"

    def _apply(self, job: Job, word: Settlement) -> None:
        self.lanes[job.lane].remove(job)
        op, argument = word.op, int(word.argument or 0)
        if op == "c":
            self._finish(job, "completed", word.value if argument else None)
        elif op == "f" or (op == "u" and self._is_patience_over(job, argument)):
            self._finish(job, "failed", word.value)
            self._bury(job)
        else:
            if op == "r":
                job.retries, job.error = (job.retries or 0) + 1, word.value
            self._again(job, self._pause(job, op, argument))

    def dump(self) -> dict[str, Any]:
        """Return what the server should hold; see `Place.dump`."""
        found: dict[str, Any] = {f"s:{lane}": _entries(jobs) for lane, jobs in self.lanes.items()}
        for job_id, job in self.jobs.items():
            found[f"j:{job_id}"] = _record(job)
            if job.state in {"delayed", "failed"}:
                found[f"y:{job_id}"] = job.payload
            if job.error is not None:
                found[f"v:{job_id}"] = job.error
        delayed = {j.job_id: j.promoted_at for j in self.jobs.values() if j.state == "delayed"}
        return found | ({"d": delayed} if delayed else {}) | ({"x": self.dead} if self.dead else {})

    def _queue(self, job: Job) -> None:
        job.state = "queued"
        self.lanes.setdefault(job.lane, []).append(job)

    def _expire(self, job: Job) -> bool:
        if job.expires is None or job.expires > self.now:
            return False
        self._finish(job, "revoked", b"expired")
        return True

    def _finish(self, job: Job, state: str, value: bytes | None) -> None:
        job.state, job.finished, job.value, job.error = state, self.now - job.enqueued, None, None
        if value is not None and len(value) <= 64:
            job.value = value
        else:
            job.error = value

    def _bury(self, job: Job) -> None:
        self.dead[job.job_id] = self.now
        oldest = sorted(self.dead, key=lambda job_id: (self.dead[job_id], job_id))
        for job_id in oldest[: max(len(oldest) - self.dead_max, 0)]:
            del self.dead[job_id], self.jobs[job_id]

    def _is_patience_over(self, job: Job, patience: int) -> bool:
        since = job.unknown_since if job.unknown_since is not None else self.now
        return self.now - since >= patience

    def _pause(self, job: Job, op: str, argument: int) -> int:
        if op != "u":
            return argument
        job.unknown_since = job.unknown_since if job.unknown_since is not None else self.now
        return min(max(self.now - job.unknown_since, 1000), 30_000, argument)

    def _again(self, job: Job, pause: int) -> None:
        job.ended, job.worker, job.started = (job.ended or 0) + 1, None, None
        if pause > 0:
            job.state, job.due = "delayed", self.now + pause
        else:
            self._queue(job)


def _entries(jobs: list[Job]) -> list[tuple[str, bytes, str | None]]:
    return [(job.job_id, job.payload, job.worker) for job in jobs]


def _record(job: Job) -> dict[str, Any]:
    """Return the record of a job."""
    names = ("nonce", "due", "expires", "started", "finished", "worker", "ended", "retries")
    fields = {name: getattr(job, name) for name in (*names, "unknown_since", "value")}
    if job.state in {"queued", "running"}:
        fields["token"] = CURRENT
    elif job.state == "delayed" and job.token:
        fields["token"] = job.token.decode()
    given = {name: value for name, value in fields.items() if value is not None}
    return record(job.state, **{"lane": job.lane, "enqueued": job.enqueued, **given})
