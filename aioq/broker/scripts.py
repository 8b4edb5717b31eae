"""One typed stub per Lua file: it builds the arguments and parses the reply, and sends nothing.

A stub's parameters after `prefix` carry the names of the ARGV section of its file, in order; a
test compares them.  The async and the sync side send the same `Call`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from aioq.broker.enqueued import (
    EachEnqueued,
    Enqueued,
    parse_each_enqueued,
    parse_enqueued,
    parse_flags,
)
from aioq.broker.resp import Argument, Reply, rows

T = TypeVar("T")
_INCLUDE = re.compile(r"^ *-- include (\w+)\n", re.MULTILINE)
_EVERY = "-- every script\n"
_SELF_TEST = "selftest"


class Script(NamedTuple):
    """One Lua file with its includes put in."""

    name: str
    source: str
    sha: str


class Call(NamedTuple, Generic[T]):
    """One call of a script: may be sent again as it is, because every script allows that."""

    script: Script
    arguments: tuple[Argument, ...]
    """The prefix, then ARGV."""
    parse: Callable[[Reply], T]

    @property
    def command(self) -> tuple[Argument, ...]:
        """The command for a server that knows the script."""
        return ("EVALSHA", self.script.sha, 1, *self.arguments)

    @property
    def full_command(self) -> tuple[Argument, ...]:
        """The command for a server that has forgotten it."""
        return ("EVAL", self.script.source, 1, *self.arguments)


def read(name: str) -> str:
    """Return the source of a script, includes put in."""
    folder = files("aioq.broker") / "lua"
    source = (folder / f"{name}.lua").read_text("utf-8")

    def include(match: re.Match[str]) -> str:
        return (folder / "include" / f"{match[1]}.lua").read_text("utf-8")

    if _EVERY in source:
        source = source.replace(_EVERY, "".join(map(_as_function, names())))
    while _INCLUDE.search(source):
        source = _INCLUDE.sub(include, source)
    return source


def names() -> tuple[str, ...]:
    """Return the names of all scripts that workers call, but the one that tests the others."""
    folder = files("aioq.broker") / "lua"
    found = [file.name for file in folder.iterdir()]
    for aside in ("durable", "events", "limits", "schedules", "streams", "workflows"):
        found += [f"{aside}/{file.name}" for file in (folder / aside).iterdir()]
    scripts = {name.removesuffix(".lua") for name in found if name.endswith(".lua")}
    return tuple(sorted(scripts - {_SELF_TEST}))


def _as_function(name: str) -> str:
    """Return a script as a function in the table `scripts` of the one that tests it."""
    return f"scripts['{name}'] = function(KEYS, ARGV)\n{read(name)}\nend\n"


@cache
def load(name: str) -> Script:
    """Return a script, read and hashed once per process."""
    source = read(name)
    return Script(name, source, hashlib.sha1(source.encode()).hexdigest())  # noqa: S324 - Redis's


class NewJob(NamedTuple):
    """One job for `enqueue`."""

    job_id: str
    lane: str
    """Then a space, and what it needs to start: a word for its unique key first, its holds."""
    task: str
    due: str
    """`+ms` from now, absolute `ms`, or "" for at once."""
    expires: str
    nonce: str
    """"" where the id is generated."""
    payload: bytes


def enqueue(prefix: str, *, count: int, ask: bool, jobs: Iterable[NewJob]) -> Call[Enqueued]:
    """Create jobs."""
    return Call(load("enqueue"), _flat((prefix, count, int(ask)), jobs), parse_enqueued)


def enqueue_each(
    prefix: str, *, count: int, ask: bool, jobs: Iterable[NewJob]
) -> Call[Sequence[EachEnqueued]]:
    """Create jobs, and answer for each by itself."""
    return Call(load("enqueue"), _flat((prefix, count, int(ask)), jobs), parse_each_enqueued)


def _flat(
    head: tuple[Argument, ...], items: Iterable[tuple[Argument, ...]]
) -> tuple[Argument, ...]:
    """Lay items out one after the other, as ARGV has them."""
    return (*head, *chain.from_iterable(items))


class Delivery(NamedTuple):
    """One job handed to one consumer; raw, because most fields are needed only sometimes."""

    entry_id: bytes
    job_id: bytes
    task: bytes
    lane: int
    """Index into the lanes that were asked for; their number more: it has passed its gate."""
    retries: int
    deliveries: int
    due_ms: int
    payload: bytes


def name_of(delivery: "Delivery | Settlement") -> bytes:
    """Name one delivery: its entry id, and its job, for entries of two lanes may have one id."""
    return delivery.entry_id + b" " + delivery.job_id


class Fetched(NamedTuple):
    """What one fetch brought."""

    now_us: int
    """The server's clock, in microseconds; -1: this worker holds no lease."""
    next_ms: int
    """When the next delayed job is due; 0: none is."""
    dropped: list[str]
    """Lane and id of entries that were no jobs of ours."""
    passed: bool
    """Whether jobs of a lower priority than one that came wait on."""
    deliveries: list[Delivery]


def fetch(
    prefix: str, *, worker: str, epoch: int, room: int, keep_ms: int, lanes: Sequence[str]
) -> Call[Fetched]:
    """Promote what is due and take jobs."""
    return Call(load("fetch"), (prefix, worker, epoch, room, keep_ms, *lanes), _parse_fetched)


def _parse_fetched(reply: Reply) -> Fetched:
    now_us, next_ms, dropped, passed, jobs = reply
    deliveries = rows(Delivery, jobs)
    removed = [entry.decode() for entry in dropped]
    return Fetched(now_us, next_ms, removed, bool(passed), deliveries)


class Settlement(NamedTuple):
    """The last word on one delivery; `settle.lua` says what each op means."""

    job_id: bytes
    entry_id: bytes
    op: str
    argument: str | int
    value: bytes


def settle(
    prefix: str, *, count: int, dead_ms: int, dead_max: int, outcomes: Iterable[Settlement]
) -> Call[str]:
    """Settle deliveries; the reply has one letter each."""
    return Call(load("settle"), _flat((prefix, count, dead_ms, dead_max), outcomes), bytes.decode)


class Update(NamedTuple):
    """A note on one running delivery; `update.lua` says what each mark means."""

    job_id: bytes
    entry_id: bytes
    mark: str
    progress: bytes


def update(prefix: str, *, count: int, updates: Iterable[Update]) -> Call[list[bool]]:
    """Note something on running deliveries; the reply says which were accepted."""
    return Call(load("update"), _flat((prefix, count), updates), parse_flags)


class End(NamedTuple):
    """The end of a job, as far as it has come."""

    state: str
    """c, f, x; "-" has not ended; "" nobody knows it; "?" ended, ask for the value."""
    value: bytes | None
    """None: it has expired."""


def wait(prefix: str, *, client: str, job_ids: Sequence[str]) -> Call[list[End]]:
    """Ask for the ends of jobs, and to be told of those still to come."""
    return Call(load("wait"), (prefix, client, *job_ids), _parse_ends)


def _parse_ends(reply: Reply) -> list[End]:
    return [
        End(state.decode(), value) for state, value in zip(reply[::2], reply[1::2], strict=True)
    ]


def parse_news(message: bytes) -> tuple[str, End]:
    """Read what `include/finish.lua` publishes: the job's id and its end."""
    length = message[1]
    return message[2 : 2 + length].decode(), End(chr(message[0]), message[2 + length :])


class Looked(NamedTuple):
    """All that is known of one job."""

    record: dict[str, bytes]
    """Empty: nobody knows it."""
    payload: bytes | None
    value: bytes | None


def look(prefix: str, *, job_id: str) -> Call[Looked]:
    """Read one job."""
    return Call(load("look"), (prefix, job_id), _parse_looked)


def _parse_looked(reply: Reply) -> Looked:
    fields, payload, value = _padded(reply, 3)
    names = [name.decode() for name in fields[::2]]
    return Looked(dict(zip(names, fields[1::2], strict=True)), payload, value)


def _padded(reply: list[Any], length: int) -> list[Any]:
    """Lua ends a reply at its last value that is not nil."""
    return reply + [None] * (length - len(reply))


class Beaten(NamedTuple):
    """What a beat has found."""

    alive: bool
    """False: the worker holds no lease, and must not come back under its name."""
    overdue: int
    """Workers whose lease has ended."""
    revokes: list[tuple[bytes, bytes]]
    """Jobs of this worker that were revoked while they run: entry id and job id."""


def beat(
    prefix: str, *, worker: str, lease_ms: int, presence: bytes, queues: Sequence[str]
) -> Call[Beaten]:
    """Renew a lease."""
    return Call(load("beat"), (prefix, worker, lease_ms, presence, *queues), _parse_beaten)


def _parse_beaten(reply: Reply) -> Beaten:
    alive, overdue, revokes = reply
    return Beaten(bool(alive), overdue, list(map(parse_revoke, revokes)))


class Limit(NamedTuple):
    """How many deaths of a worker a job of a task survives; `register.lua` says in what words."""

    task: str
    limit: str


def register(
    prefix: str, *, worker: str, lease_ms: int, events: bool = False, limits: Iterable[Limit]
) -> Call[int]:
    """Ask for the lease of a new incarnation."""
    return Call(load("register"), _flat((prefix, worker, lease_ms, int(events)), limits), int)


class Reaped(NamedTuple):
    """What one call has taken over."""

    taken: int
    """Deliveries."""
    rest: bool
    """Whether there is more to do."""
    workers: list[str]
    """Those that are reaped to the end."""


def reap(
    prefix: str,
    *,
    worker: str,
    is_crash: bool,
    lease_ms: int,
    most: int,
    dead_ms: int,
    dead_max: int,
) -> Call[Reaped]:
    """Take over what dead workers hold, or what one has left behind."""
    arguments = (prefix, worker, int(is_crash), lease_ms, most, dead_ms, dead_max)
    return Call(load("reap"), arguments, _parse_reaped)


def _parse_reaped(reply: Reply) -> Reaped:
    taken, rest, workers = reply
    return Reaped(taken, bool(rest), [name.decode() for name in workers])


def recover(
    prefix: str, *, worker: str, epoch: int, most: int, known: Iterable[bytes]
) -> Call[int]:
    """Give back what came in a reply that was lost; the reply counts it."""
    return Call(load("recover"), (prefix, worker, epoch, most, *known), int)


def revoke(prefix: str, *, at_once: bool, keep_ms: int, job_ids: Sequence[str]) -> Call[list[int]]:
    """End jobs on request; bit 0: it ends, bit 1: more jobs end with it."""
    return Call(load("revoke"), (prefix, int(at_once), keep_ms, *job_ids), _parse_digits)


def _parse_digits(reply: bytes) -> list[int]:
    return [digit - ord("0") for digit in reply]


def parse_revoke(message: bytes) -> tuple[bytes, bytes]:
    """Read what `revoke.lua` tells a worker: the entry id and the job's id."""
    entry_id, _, job_id = message.partition(b" ")
    return entry_id, job_id


def backlog(prefix: str, *, lanes: Sequence[str]) -> Call[int]:
    """Count jobs that wait for a worker."""
    return Call(load("backlog"), (prefix, *lanes), int)


def ring(prefix: str, *, queue: str) -> Call[int]:
    """Pass a doorbell token on."""
    return Call(load("ring"), (prefix, queue), int)


class SelfTested(NamedTuple):
    """What a server has made of the self-test."""

    is_full: bool
    denied: list[tuple[int, str]]
    """Trials that failed, by index, and the errors."""
    replies: list[Reply]
    """One for each step; fewer where one failed."""
    failure: str
    """The error of the step that failed; "" where none did."""


def selftest(
    prefix: str, *, count: int, trials: Iterable[str], steps: Iterable[Argument]
) -> Call[SelfTested]:
    """Try every command and every script in a scratch namespace."""
    return Call(load("selftest"), (prefix, count, *trials, *steps), _parse_self_tested)


def _parse_self_tested(reply: Reply) -> SelfTested:
    full, denied, replies, failure = reply
    pairs = zip(denied[::2], denied[1::2], strict=True)
    errors = [(index, text.decode(errors="replace")) for index, text in pairs]
    return SelfTested(bool(full), errors, replies, failure.decode(errors="replace"))
