"""What is known of each job and of each worker, from the calls that the server has executed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aioq.broker.keys import COMMON_LANE, split_lane, suspects
from aioq.broker.scripts import NewJob, Settlement
from tests.simulation.tasks import PATIENCE_MS

if TYPE_CHECKING:
    from tests.simulation.turns import Process

ENDED = frozenset("cfx")


class Violation(AssertionError):
    """What must never be has been."""


class Found(NamedTuple):
    """The fields of a record that the history compares."""

    state: str
    token: bytes
    retries: int
    crashes: int
    ended: int
    revoke: bool
    due_ms: int
    worker: str
    waits: bool
    nonce: str
    handled_by: str
    expires_ms: int | None
    unknown_since: int | None
    holds: str
    has_payload: bool
    """Whether it can be replayed."""


class Run(NamedTuple):
    """A job that runs in a process, whatever the server thinks of it."""

    job_id: str
    token: bytes
    process: "Process"


@dataclass(eq=False)
class Story:
    """One job."""

    job: NewJob
    due_after_ms: int = 0
    expires_after_ms: int | None = None
    state: str = ""
    """As in the record, but what is delayed or queued is `w`, it waits; "": nobody knows it."""
    due_ms: int = 0
    expires_ms: int | None = None
    nonce: str = ""
    """Of the call that made it."""
    token: bytes = b""
    """Of its last delivery."""
    queued: bytes = b""
    """The token it waits with, where a restart has shown it."""
    tokens: set[bytes] = field(default_factory=set[bytes])
    holder: str = ""
    waits_inside: bool = False
    retries: int = 0
    crashes: int = 0
    ended: int = 0
    is_revoked: bool = False
    holds: str = ""
    """The limits that it waits for before each delivery."""
    unknown_since: int | None = None
    handled_by: str = ""
    """The nonce of the call that last replayed or discarded it."""
    is_discarded: bool = False
    is_acked: bool = False
    is_torn: bool = False
    """Whether a restart has taken back what was known of it."""
    is_forgotten: bool = False
    taken: set[bytes] = field(default_factory=set[bytes])
    """Tokens of deliveries that were rightly taken from a worker that may run them still."""
    runs: list[Run] = field(default_factory=list[Run])
    changed_at_ms: float = 0
    ready_since_ms: float | None = None

    @property
    def job_id(self) -> str:
        """Its name."""
        return self.job.job_id

    @property
    def lane(self) -> str:
        """The lane it waits in."""
        lane = self.job.lane.partition(" ")[0] or COMMON_LANE
        return suspects(split_lane(lane)[0]) if self.crashes >= 2 else lane

    @property
    def is_alive(self) -> bool:
        """Whether it is still to be run."""
        return self.state in {"w", "r"}

    def create(self, nonce: str, now_ms: int) -> None:
        """Begin."""
        self.nonce, self.state = nonce, "w"
        self.retries = self.crashes = self.ended = 0
        self.is_revoked, self.unknown_since, self.holder = False, None, ""
        self.holds = self.job.lane.partition(" ")[2]
        self.due_ms = now_ms + self.due_after_ms
        if self.expires_after_ms is not None:
            self.expires_ms = now_ms + self.expires_after_ms

    def deliver(self, token: bytes, worker: str) -> None:
        """Hand it to a worker."""
        self.state, self.token, self.holder, self.queued = "r", token, worker, b""
        self.tokens.add(token)
        self.waits_inside = False

    def again(self, due_ms: int) -> None:
        """Let it run again."""
        self.state, self.due_ms, self.holder = "w", due_ms, ""
        self.ended += 1
        self.waits_inside = False
        self.queued = b""

    def finish(self, state: str) -> None:
        """End it."""
        self.state, self.queued = state, b""

    def crash(self, limit: str, now_ms: int) -> None:
        """End a delivery by the death of its process."""
        self.crashes += 1
        if limit != "inf" and self.crashes >= int(limit):
            self.finish("f")
        elif self.crashes < 2:
            self.again(now_ms)
        else:
            self.again(now_ms + min(2**self.crashes, 30) * 1000)

    def settle(self, word: Settlement, limits: Mapping[str, str], now_ms: int) -> None:
        """Apply the last word on a delivery."""
        delay_ms = int(word.argument) if word.op in {"r", "n"} else 0
        if self.is_revoked:
            self.finish("x")
        elif word.op in {"c", "f"}:
            self.finish(word.op)
        elif word.op == "l":
            self.crash(limits.get(self.job.task, "3"), now_ms)
        elif word.op == "u":
            self._offer_around(now_ms)
        elif word.op == "p":
            self.holds = " ".join(filter(None, (str(word.argument), self.holds)))
            self.ended -= 1
            self.again(now_ms + 1)
        else:
            if word.op == "r":
                self.retries += 1
                self.crashes = 0
            self.again(now_ms + delay_ms)

    def _offer_around(self, now_ms: int) -> None:
        if self.unknown_since is None:
            self.unknown_since = now_ms
        around_ms = now_ms - self.unknown_since
        if around_ms >= PATIENCE_MS:
            self.finish("f")
        else:
            self.again(now_ms + min(max(around_ms, 1000), 30_000, PATIENCE_MS))

    def replay(self, nonce: str, now_ms: int) -> None:
        """Begin anew."""
        self.state, self.handled_by, self.due_ms, self.expires_ms = "w", nonce, now_ms, None
        self.retries = self.crashes = self.ended = 0
        self.is_revoked, self.unknown_since, self.holder = False, None, ""

    def adopt(self, found: Found | None) -> None:
        """Believe the server, which was set back."""
        if found is None:
            self.state = ""
            return
        self.state = found.state if found.state in {"r", *ENDED} else "w"
        self.retries, self.crashes, self.ended = found.retries, found.crashes, found.ended
        self.is_revoked, self.waits_inside = found.revoke, found.waits
        self.holder = found.worker if self.state == "r" else ""
        self.queued = found.token if found.state == "q" else b""
        self.tokens.discard(self.queued)
        if self.state == "r":
            self.token = found.token
        if self.state == "w":
            self.due_ms = found.due_ms if found.state == "d" else 0
        self.nonce, self.handled_by, self.holds = found.nonce, found.handled_by, found.holds
        self.expires_ms, self.unknown_since = found.expires_ms, found.unknown_since
        self.is_discarded = self.state == "f" and not found.has_payload

    def differs_from(self, found: Found | None, now_ms: int) -> str:
        """Say in what the record is not what it should be; "" for nothing."""
        if found is None:
            return f"it is {self.state}, and the server does not know it" if self.state else ""
        if not self.state:
            return f"it was never enqueued, and the server has it as {found.state}"
        if self.has_expired(found, now_ms):
            return ""
        state = "w" if found.state in {"q", "d", "p"} else found.state
        seen = (state, found.retries, found.crashes, found.ended, found.revoke)
        known = (self.state, self.retries, self.crashes, self.ended, self.is_revoked)
        if seen != known:
            return f"(state, retries, crashes, ended, revoke) is {seen}, and should be {known}"
        if state == "r" and (found.token, found.worker) != (self.token, self.holder):
            return f"it runs as {found.token!r} on {found.worker}, and not as {self}"
        return ""

    def has_expired_by(self, found: Found) -> bool:
        """Tell whether it was known to have expired, and has not."""
        return self.state == "x" and self.expires_ms is not None and found.state != "x"

    def has_expired(self, found: Found, now_ms: int) -> bool:
        """Tell whether it ended because nobody came for it in time; note it if so."""
        is_late = self.expires_ms is not None and self.expires_ms <= now_ms
        if self.state == "w" and found.state == "x" and is_late:
            self.finish("x")
            return True
        return False


@dataclass(eq=False)
class Incarnation:
    """One name under which a worker process has held a lease."""

    name: str
    process: "Process"
    renewed_at_ms: float = 0
    """When the server last executed a beat of it; true time."""
    has_lease: bool = False
    is_reaped: bool = False
    """Whether that has begun."""
    has_left: bool = False
    gave_up: bool = False
    """Whether it left with words that the server had not taken."""
    is_replaced: bool = False
    """Whether its process has taken another name."""
