"""What an examination of the server finds, in words; `lua/fsck` gives the codes."""

from dataclasses import dataclass, field

from aioq.core.record import Stored


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    code: str
    name: str
    """The job, lane, worker or key that it is about."""
    detail: str
    did: str
    """What was done about it, in one word; "": nothing."""

    @property
    def text(self) -> str:
        """What is wrong, in words."""
        detail = _STATES.get(self.detail, self.detail)
        return _TEXTS[self.code].format(name=self.name, detail=detail)

    @property
    def remedy(self) -> str:
        """What was done about it, or why nothing was, in words."""
        return _REMEDIES[self.did] if self.did else _LEFT.get(self.code, "left as it is")


@dataclass(slots=True)
class Report:
    """What an examination has found."""

    findings: list[Finding] = field(default_factory=list[Finding])
    jobs: int = 0
    """Records that were looked at."""
    waiting: dict[str, int] = field(default_factory=dict[str, int])
    """Jobs that wait for a worker, by lane."""
    held: dict[str, int] = field(default_factory=dict[str, int])
    """Jobs that workers have, by lane."""
    parked: dict[str, int] = field(default_factory=dict[str, int])
    """Jobs that wait for a limit, or for their turn among fair keys, by lane."""
    delayed: int = 0
    dead_letters: int = 0
    overdue: int = 0
    """Workers whose lease has ended; the next worker that beats takes over what they hold."""
    is_complete: bool = True
    """False: an index is no index at all, so that the rest could not be checked."""

    @property
    def unmended(self) -> list[Finding]:
        """What is still wrong."""
        return [finding for finding in self.findings if not finding.did]


_TEXTS = {
    "server-old": "the server is {name}, which is like Redis {detail}; 6.2 is needed",
    "server-evicts": "the server throws keys away once it is full: its maxmemory-policy is {name}",
    "server-evicted": "the server has thrown {name} keys away since it was started",
    "queued-lost": "job {name} is queued, and has no entry in {detail}",
    "queued-held": "job {name} is queued, and {detail} holds its entry",
    "queued-passed": "job {name} is queued, and its entry in {detail} is never handed out again",
    "running-lost": "job {name} is running, and its entry is gone; its worker is {detail}",
    "running-unheld": "job {name} is running, and its worker {detail} does not hold its entry",
    "delayed-lost": "job {name} is delayed, and its arguments are gone",
    "delayed-unlisted": "job {name} is delayed, and the delayed set does not know it",
    "delayed-stale": "the delayed set names job {name}, which is {detail}",
    "delayed-unknown": "the delayed set names job {name}, which has no record",
    "waiting-lost": "job {name} waits for others, and its arguments are gone",
    "waiting-strange": "job {name} waits for others, and its record does not say how many",
    "waiting-complete": "job {name} waits for others, and all of them have ended",
    "parked-lost": "job {name} is held by limits, and its arguments are gone",
    "parked-free": "job {name} is held by limits, and its record names none",
    "parked-unlisted": "job {name} is held by limits, and is not in line at {detail}",
    "parked-stale": "lane {detail} counts job {name} among those held by limits, and it is not",
    "suspended-lost": "job {name} is suspended, and its arguments are gone",
    "suspended-unlisted": "job {name} is suspended, and the delayed set does not know it",
    "suspended-deaf": "job {name} is suspended, and nothing would ever wake it",
    "memo-left": "the memo {name} is left, and its job is {detail}",
    "wait-left": "{name} is listed as waiting for event {detail}, and does not",
    "line-stale": "job {name} stands in the line {detail}, where it does not belong",
    "turn-stale": "a turn at {name} is kept for the key '{detail}', which has no jobs",
    "turn-left": "lane {name} keeps the turn of gates, and none is ready",
    "gate-empty": "no job waits at {name}, and it is listed in {detail}",
    "gate-lost": "jobs wait at {name}, and nobody ever looks at it",
    "gate-twice": "jobs wait at {name}, which is in more than one place: {detail}",
    "gate-deaf": "{name} sleeps in {detail}, and a change of its limits would not wake it",
    "gate-astray": "{name} is listed in {detail}, where it does not belong",
    "sleeper-stale": "limit {detail} counts {name} among those that sleep, and it does not",
    "slot-leaked": "job {name} holds a slot of {detail}, and does not run",
    "slot-idle": "jobs wait for a slot of {name}, and nobody holds one",
    "letter-lost": "job {name} is a dead letter, and its arguments are gone",
    "letter-unlisted": "job {name} is a dead letter, and the list of them does not know it",
    "letter-stale": "the dead letters name job {name}, which is {detail}",
    "letter-unknown": "the dead letters name job {name}, which has no record",
    "payload-expires": "the arguments of job {name}, which is {detail}, expire",
    "payload-forever": "the arguments of dead letter {name} never expire",
    "payload-stale": "there are spare arguments of job {name}, which is {detail}",
    "payload-unknown": "there are arguments of job {name}, which has no record",
    "value-forever": "the result or error of job {name} never expires",
    "value-unknown": "there is a result or error of job {name}, which has no record",
    "live-expires": "the record of job {name}, which has not ended, expires",
    "ended-forever": "the record of job {name}, which has ended, never expires",
    "state-unknown": "the record of job {name} has a state that nobody knows: {detail}",
    "entry-strange": "the entry {name} is no job",
    "entry-unknown": "the entry {name} is of job {detail}, which has no record",
    "entry-stale": "the entry {name} is of job {detail}, whose record names another place",
    "lane-unlisted": "lane {name} holds jobs, and workers do not look into it",
    "lane-gone": "lane {name} is listed as filled, and does not exist",
    "lane-empty": "lane {name} is empty, and nobody reads it",
    "group-unlisted": "lane {name} has readers, and is not listed for taking over from them",
    "group-gone": "lane {name} is listed as one with readers, and has none",
    "worker-unleased": "worker {name} has no lease, and reads lane {detail}",
    "epoch-left": "a lost reply of worker {name} is noted, which has no lease",
    "revokes-left": "revokes are kept in {name} for a worker that has no lease",
    "lock-left": "the unique key {name} is held by job {detail}, which has ended or does not know",
    "bell-full": "the doorbell {name} has {detail} tokens, more than 16",
    "bell-left": "the doorbell {name} has tokens, and there is neither a job nor a worker",
    "schedule-unknown": "{detail} names schedule {name}, which is not defined",
    "schedule-stale": "schedule {name} is paused, and is due all the same",
    "schedule-lost": "schedule {name} is neither due nor paused, so nobody fires it",
    "key-unknown": "the key {name}, a {detail}, is in no table",
    "key-type": "the key {name} is of the wrong type: {detail}",
    "key-expires": "the key {name} expires, and must not",
    "key-forever": "the key {name} never expires, and must",
}
"""What each finding is, by its code; the scripts give the rest."""
_STATES = {state.value: state.name.lower() for state in Stored}
_REMEDIES = {
    "queued": "queued again",
    "begun": "it has begun",
    "parked": "held by its limits again",
    "opened": "the next worker looks at it",
    "released": "given back",
    "buried": "made a dead letter, for it cannot be run any more",
    "revoked": "ended as REVOKED, as somebody had asked",
    "claimed": "its worker holds it again",
    "listed": "added",
    "removed": "removed",
    "kept": "removed, and its arguments kept for the job",
    "marked": "marked as one that cannot be replayed",
    "expires": "it expires now",
    "persisted": "it does not expire any more",
    "trimmed": "cut to 16",
    "paused": "paused; `aioq schedules resume` lets it go on",
    "reaped": "its jobs were given back, and it was removed",
}
_BY_HAND = "left alone: a newer release may have written it; delete it by hand if none has"
_LEFT = {
    "server-old": "upgrade it",
    "server-evicts": "CONFIG SET maxmemory-policy noeviction, and in its configuration file",
    "server-evicted": "jobs and results may be among them; nothing can bring them back",
    "running-lost": "left to its worker, which may still end it; look again when that has left",
    "key-unknown": _BY_HAND,
    "key-type": _BY_HAND,
    "state-unknown": _BY_HAND,
}
