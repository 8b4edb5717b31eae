"""Every key in one table: name, type, expiry, meaning.

The scripts build the same names from the same prefix; a test compares them with this table, and
the page `docs/reference/keys.md` is made from it.
"""

from typing import NamedTuple

PARTITION = 0
"""One partition in this release; the layout carries its number so that more can follow."""


class KeyKind(NamedTuple):
    """One kind of key."""

    name: str
    """After the prefix; `<…>` stands for a variable part."""
    type: str
    expiry: str
    """"constant": it may remain in an empty system."""
    meaning: str


TABLE = (
    KeyKind("j:<job>", "hash", "ended: result_expires, at least 120 s; dead: 7 days", "a record"),
    KeyKind("y:<job>", "string", "none; 7 days in a dead letter", "a payload outside a stream"),
    KeyKind("v:<job>", "string", "result_expires; 7 days", "a result over 64 bytes; an error"),
    KeyKind("s:<queue>:<priority>", "stream", "none", "one entry per delivery; group `w`"),
    KeyKind("s:<queue>:z", "stream", "none", "the suspects of a queue"),
    KeyKind("l", "set", "none", "lanes that may hold undelivered entries"),
    KeyKind("d", "zset", "none", "jobs by due time, parked ones by expiry, gates by token, ms"),
    KeyKind("da:<queue>", "string", "when it is due", "what idle workers know to be due next, ms"),
    KeyKind("hp:<lane>", "zset", "none", "parked jobs of a lane by when they were parked, ms"),
    KeyKind("hl:<gate>", "zset", "none", "fair keys of a gate that have jobs, by turn"),
    KeyKind("hq:<gate> <key>", "zset", "none", "a line: parked jobs in order"),
    KeyKind("hr:<lane>", "zset", "none", "ready gates of a lane, by turn; '' says whose it is"),
    KeyKind("si:<job>", "stream", "ended: as its record", "what the job streams"),
    KeyKind("tb:<limit>", "string", "10 s after it is full", "a token bucket"),
    KeyKind("sl:<limit>", "set", "none", "jobs that hold slots of a concurrency limit"),
    KeyKind("sw:<limit>", "zset", "none", "gates that wait for a slot, by priority and time"),
    KeyKind("lg:<name>", "set", "none", "gates that sleep because of a limit"),
    KeyKind("aw:<limit>", "zset", "5 s", "tickets at a limiter, in order"),
    KeyKind("ac:<client>", "string", "2 s", "a client that waits at a limiter lives"),
    KeyKind("ag:<client>", "string", "60 s", "its last tokens, should their reply be lost"),
    KeyKind("lc", "hash", "constant", "limits as the code declares them"),
    KeyKind("lr", "hash", "constant", "limits that were set at run time"),
    KeyKind("g:<job>", "hash", "none; result_expires; 7 days", "results that a job waits for"),
    KeyKind("gx:<job>", "hash", "7 days", "members for which a dead letter failed"),
    KeyKind("gd:<job>", "list", "none; 7 days", "whom the end of a job concerns, where many"),
    KeyKind("gv:<job>", "string", "none", "the end of a job, until all of these are told"),
    KeyKind("gm:<job>", "list", "none; as its root", "the jobs of a workflow, by its root"),
    KeyKind("gk:<job>", "list", "none; 7 days", "groups in the middle of a workflow, by its root"),
    KeyKind("gs:<job>", "list", "none", "jobs that begin when a plan is sealed"),
    KeyKind("go", "zset", "none", "plans that are not sealed, by when they are given up, ms"),
    KeyKind("gl", "list", "none", "what is left over of large workflows for later calls"),
    KeyKind("qp", "set", "constant", "paused queues"),
    KeyKind("cr", "hash", "constant", "schedules: what each makes, and when"),
    KeyKind("cz", "zset", "constant", "schedules that are not paused, by next occurrence, ms"),
    KeyKind("cp", "set", "constant", "paused schedules"),
    KeyKind("cl", "hash", "constant", "the last job of each schedule"),
    KeyKind("ch:<schedule>", "list", "constant", "what became of its last 100 occurrences"),
    KeyKind("cs", "hash", "constant", "sources of schedules, and when their newest process began"),
    KeyKind("un:<key>", "string", "none; for_", "a unique key: the job that holds it"),
    KeyKind("ub:<job>", "string", "120 s", "the job that a debounced call gave its arguments to"),
    KeyKind("dm:<job>", "hash", "none; 7 days", "the memo of a durable job: its steps and waits"),
    KeyKind("dr:<job>", "hash", "none; 7 days", "large results of its children"),
    KeyKind("dw:<event>", "zset", "none", "jobs that wait for an event, by the last sent before"),
    KeyKind("de:<event>", "hash", "keep, at least 120 s", "the last 100 events of a name"),
    KeyKind("dn", "string", "constant", "how many events were sent"),
    KeyKind("ev", "stream", "constant", "the last events: one entry for all of a call"),
    KeyKind("x", "zset", "none", "dead letters by time of death, ms; at most 10,000"),
    KeyKind("lw", "zset", "none", "workers by the end of their lease, ms"),
    KeyKind("w:<worker>", "string", "10 leases", "what a worker says of itself"),
    KeyKind("sv:<queue>", "string", "2 leases", "exists while a live worker serves the queue"),
    KeyKind("cx:<worker>", "set", "10 minutes", "its jobs that were revoked while they ran"),
    KeyKind("ss", "set", "none", "lanes whose stream has a group"),
    KeyKind("e", "hash", "none", "workers that lost a reply, and the epoch of their fetches"),
    KeyKind("t", "string", "constant", "when somebody last watched the leases, ms"),
    KeyKind("o", "hash", "constant", "crash limits of tasks, where they are not 3"),
    KeyKind("b:<queue>", "list", "none", "doorbell: at most 16 tokens for idle workers"),
    KeyKind("r:<client>", "channel", "", "ends of the jobs this client waits for"),
    KeyKind("k:<worker>", "channel", "", "revokes of jobs that it runs"),
    KeyKind("n", "channel", "", "news for all workers: schedules have changed"),
    KeyKind("!:", "", "gone with its script", "begins the keys of a starting worker's self-test"),
    KeyKind("~", "", "never written", "deleted first, so that a full server lets a script pass"),
)

COMMON_LANE = "default:5"
"""The lane that records leave out."""

RECORD_FIELDS = {
    "s": "state letter",
    "q": "lane, queue:priority; left out where it is default:5",
    "t": "task name",
    "n": "enqueued, ms; left out while the entry id says it",
    "i": "entry id of the delivery, the fencing token; in the end a result of up to 64 bytes",
    "o": "worker that holds it, or ran it to its end",
    "a": "deliveries that ended, and the job went on",
    "e": "retries",
    "k": "crashes: deliveries that ended with the death of their worker",
    "c": "a revoke is recorded: the job will end as REVOKED, and be kept so long, ms",
    "b": "started, ms after n",
    "f": "finished, ms after it started; after n where it never did",
    "d": "due, ms",
    "x": "expires, ms",
    "h": "holds: the limits that it waits for before each delivery",
    "u": "nonce of the call that made it, where the user chose the id",
    "l": "nonce of the call that replayed or discarded it as a dead letter",
    "g": "since when no worker knows its task, ms",
    "m": "mark of a running job: v waits inside the worker, p has progress",
    "p": "progress",
    "w": "clients that wait for its end, and what else it concerns",
    "j": "how many others it waits for, or has waited for",
    "z": "kind, ms a group is kept, due and expiry of a job that waits for others",
    "v": "the member for which a job failed that never began",
}


class Keys:
    """The keys of one app."""

    def __init__(self, name: str) -> None:
        self.prefix: str = f"{{{name}.{PARTITION}}}:"

    def bell(self, queue: str) -> str:
        """The doorbell of a queue."""
        return f"{self.prefix}b:{queue}"

    def channel(self, client: str) -> str:
        """The channel on which a client hears of the ends of jobs."""
        return f"{self.prefix}r:{client}"

    def orders(self, worker: str) -> str:
        """The channel on which a worker hears of revokes."""
        return f"{self.prefix}k:{worker}"

    def items(self, job_id: str) -> str:
        """What a job streams."""
        return f"{self.prefix}si:{job_id}"

    @property
    def events(self) -> str:
        """The stream of events."""
        return f"{self.prefix}ev"

    def service(self, queue: str) -> str:
        """What exists while a live worker serves a queue."""
        return f"{self.prefix}sv:{queue}"

    @property
    def lanes(self) -> tuple[str, str]:
        """The lanes in which jobs may wait, and those in which some may run."""
        return f"{self.prefix}l", f"{self.prefix}ss"

    @property
    def declared_limits(self) -> str:
        """Limits as the code declares them."""
        return f"{self.prefix}lc"

    @property
    def changed_limits(self) -> str:
        """Limits that were set at run time."""
        return f"{self.prefix}lr"

    @property
    def paused(self) -> str:
        """The paused queues."""
        return f"{self.prefix}qp"

    @property
    def news(self) -> str:
        """The channel on which all workers hear that schedules have changed."""
        return f"{self.prefix}n"

    @property
    def leases(self) -> str:
        """The leases of all workers."""
        return f"{self.prefix}lw"

    def presence(self, worker: str) -> str:
        """What a worker says of itself."""
        return f"{self.prefix}w:{worker}"


def lane(queue: str, priority: int) -> str:
    """Name the lane of a queue and a priority."""
    return f"{queue}:{priority}"


def suspects(queue: str) -> str:
    """Name the lane of a queue's suspects: jobs that have crashed twice."""
    return f"{queue}:z"


def split_lane(text: str) -> tuple[str, int]:
    """Return the queue and the priority of a lane."""
    queue, _, priority = text.rpartition(":")
    return queue, int(priority)
