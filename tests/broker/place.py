"""An empty database on a real server: seed it, call a script, and compare all that it holds."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from aioq.broker import sync
from aioq.broker.broker import Broker
from aioq.broker.keys import COMMON_LANE, Keys
from aioq.broker.resp import Argument, Reply
from aioq.broker.scripts import Call, NewJob
from aioq.broker.topology import parse
from aioq.core.record import Stored
from tests.broker.fsck import problems
from tests.broker.gates import place_of
from tests.eventually import eventually
from tests.faults.proxy import PROXY

T = TypeVar("T")

START = 4_000_000_000_000
"""Where a moved clock starts: milliseconds since the epoch, and later than any real clock."""
FOREVER = 9_000_000_000_000
"""The end of leases that are not what a test is about."""
CLOCK = "clock"
"""The key that holds a moved clock; no key of aioq's."""

FIELDS = {
    "s": "state",
    "q": "lane",
    "t": "task",
    "n": "enqueued",
    "i": "token",
    "o": "worker",
    "a": "ended",
    "e": "retries",
    "k": "crashes",
    "c": "revoke",
    "b": "started",
    "f": "finished",
    "d": "due",
    "x": "expires",
    "u": "nonce",
    "h": "holds",
    "l": "letter_nonce",
    "g": "unknown_since",
    "m": "mark",
    "p": "progress",
    "w": "waiters",
    "j": "needs",
    "z": "plan",
    "v": "culprit",
}
"""What tests call the fields of a record."""
VALUE = "value"
"""What they call the token's field once the job has ended, for it holds the result then."""
_NUMBERS = {"enqueued", "ended", "retries", "started", "finished", "due", "expires"} | {
    "unknown_since",
    "crashes",
}
_BYTES = {"progress", VALUE}
ENDED = {b"c", b"f", b"x"}
CURRENT = "current"
"""The token of a job whose entry is in its stream, for ids differ from run to run."""

State = dict[str, Any]


class Admin:
    """A plain connection: one command after the other, nothing of aioq's in between."""

    def __init__(self, url: str) -> None:
        self._connection = sync.dial(parse(url, prefix=""))
        self.client_id: int = self("CLIENT", "ID")

    def __call__(self, *command: Argument | float) -> Reply:
        self._connection.send_command(*command, check_health=False)
        return self._connection.read_response(disable_decoding=True)

    def run(self, call: Call[T]) -> T:
        """Run a script."""
        return sync.run_on(self._connection, call)

    def others(self) -> list[str]:
        """Return the other clients that are connected, as CLIENT LIST describes them."""
        lines = self("CLIENT", "LIST").decode().splitlines()
        return [line for line in lines if not line.startswith(f"id={self.client_id} ")]

    def close(self) -> None:
        self._connection.disconnect()


class Place:
    """The keys of one app on a server, and ways past the broker to look at them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = Keys("test")
        self.prefix = self.keys.prefix
        self.is_sound = True
        """Set it to False where a test damages the indexes on purpose."""
        self.connect()

    def connect(self) -> None:
        """Connect; again, if the server was restarted."""
        self.admin = Admin(self.url)

    def __enter__(self) -> Self:
        self.admin("FLUSHALL")
        self.admin("CONFIG", "SET", "maxmemory", 0)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.admin.close()

    def run(self, call: Call[T]) -> T:
        """Run a script."""
        return self.admin.run(call)

    def lease(self, *workers: str, until: int = FOREVER) -> None:
        """Give workers a lease that ends at a moment; or one that does not."""
        for worker in workers:
            self.admin("ZADD", self.keys.leases, until, worker)

    def snapshot(self) -> dict[str, "Key"]:
        """Return all keys, read in one moment, without the prefix, the clock and the alarms.

        An alarm is gone when it is due, by the server's own clock.
        """
        rows: list[list[Any]] = self.admin("EVAL", _SNAPSHOT, 0)
        found = {key.decode(): Key(kind.decode(), ttl, value) for key, kind, ttl, value in rows}
        assert all(key.startswith(self.prefix) for key in found), sorted(found)
        names = {key.removeprefix(self.prefix): value for key, value in sorted(found.items())}
        names.pop(CLOCK, None)
        return {name: value for name, value in names.items() if not name.startswith("da:")}

    def expiring(self) -> dict[str, int]:
        """Return the milliseconds that each key with an expiry has left."""
        return {name: key.ttl for name, key in self.snapshot().items() if key.ttl >= 0}

    def token(self, job_id: str) -> bytes:
        """Return the fencing token of a job."""
        return self.admin("HGET", f"{self.prefix}j:{job_id}", "i") or b""

    def bells(self, queue: str = "default") -> int:
        """Return how many tokens lie on a doorbell."""
        return self.admin("LLEN", self.keys.bell(queue))

    def dump(self) -> State:
        """Return everything that is stored, with records and streams in a readable form."""
        return dumped(self.snapshot())

    def check(self) -> None:
        """Check that nothing is left behind: no connection, and no key that belongs to nobody."""
        deadline = time.monotonic() + 5
        while left := self.admin.others():  # the server notices an end when it reads
            assert time.monotonic() < deadline, f"connections left open: {left}"
        if self.is_sound:
            assert self.problems() == []

    def problems(self, keys: "dict[str, Key] | None" = None) -> list[str]:
        """Return what is wrong with the records and indexes, in words."""
        keys = self.snapshot() if keys is None else keys
        types = {name: key.type for name, key in keys.items()}
        expiring = {name for name, key in keys.items() if key.ttl >= 0}
        return problems(dumped(keys), types, expiring, _groups(keys))


class Key(NamedTuple):
    """One key as the server has it."""

    type: str
    ttl: int
    """Milliseconds; negative: it does not expire."""
    value: Any


_SNAPSHOT = """
local read = { hash = 'HGETALL', string = 'GET', set = 'SMEMBERS', list = 'LLEN' }
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'zset' then
    value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'stream' then
    local pending = redis.pcall('XPENDING', key, 'w', '-', '+', 10000)
    local consumers = redis.pcall('XINFO', 'CONSUMERS', key, 'w')
    value = { redis.call('XRANGE', key, '-', '+'), pending.err and {} or pending }
    value[3] = consumers.err and 0 or consumers
  else
    value = redis.call(read[kind], key)
  end
  found[#found + 1] = { key, kind, redis.call('PTTL', key), value }
end
return found
"""


def dumped(keys: Mapping[str, Key]) -> State:
    """Put a snapshot into a readable form."""
    entries = {
        (name.removeprefix("s:"), entry_id.decode()): fields[1].decode()
        for name, key in keys.items()
        if name.startswith("s:")
        for entry_id, fields in key.value[0]
    }
    found: State = {}
    for name, (kind, _, value) in keys.items():
        if kind == "hash" and not name.startswith("j:"):
            pairs = zip(value[::2], value[1::2], strict=True)
            found[name] = {field.decode(): each.decode(errors="replace") for field, each in pairs}
        elif kind == "hash":
            found[name] = _record(name.removeprefix("j:"), value, entries)
        elif kind == "stream":
            found[name] = _stream(*value[:2])
        elif kind == "zset":
            found[name] = _scores(value)
        elif kind == "set":
            found[name] = {member.decode() for member in value}
        else:
            found[name] = value
    return found


def _groups(keys: Mapping[str, Key]) -> dict[str, set[str]]:
    """Return the consumers of each stream that has a group."""
    return {
        name: {fields[1].decode() for fields in key.value[2]}
        for name, key in keys.items()
        if key.type == "stream" and key.value[2] != 0
    }


def _record(job_id: str, flat: list[bytes], entries: Mapping[tuple[str, str], str]) -> State:
    raw = {field.decode(): value for field, value in zip(flat[::2], flat[1::2], strict=True)}
    raw.setdefault("q", COMMON_LANE.encode())
    has_ended = raw["s"] in ENDED
    if "i" in raw and not has_ended:
        raw.setdefault("n", raw["i"].partition(b"-")[0])
        place = place_of(raw["q"].decode(), int(raw.get("k", 0)), raw.get("h"))
        if entries.get((place, raw["i"].decode())) == job_id:
            raw["i"] = CURRENT.encode()
    names = FIELDS | {"i": VALUE} if has_ended else FIELDS
    found = {names[field]: _readable(names[field], value) for field, value in raw.items()}
    if "finished" in found:
        found["finished"] += found.get("started", 0)
    return found


def _stream(entries: list[Any], pending: list[Any]) -> list[tuple[Any, ...]]:
    """Return the entries of a stream: job, payload, and the worker that holds it or None."""
    holders = {entry_id: worker.decode() for entry_id, worker, *_ in pending}
    found: list[tuple[Any, ...]] = []
    for entry_id, fields in entries:
        holder = holders.pop(entry_id, None)
        if len(fields) == 4 and fields[0] == b"j" and fields[2] == b"p":
            found.append((fields[1].decode(), fields[3], holder))
        else:
            found.append((*fields, holder))
    assert not holders, f"pending without an entry: {holders}"
    return found


def _readable(name: str, value: bytes) -> Any:  # noqa: ANN401 - as the field has it
    if name == "state":
        return Stored(value.decode()).name.lower()
    if name in _NUMBERS:
        return int(value)
    return value if name in _BYTES else value.decode()


def _scores(flat: list[bytes]) -> dict[str, float]:
    return {
        member.decode(): float(score) for member, score in zip(flat[::2], flat[1::2], strict=True)
    }


def new_job(
    job_id: str,
    *,
    lane: str = "default:5",
    task: str = "add",
    due: str = "",
    expires: str = "",
    nonce: str = "",
    payload: bytes = b"",
) -> NewJob:
    """Describe a job whose payload, unless given, is named like it."""
    return NewJob(job_id, lane, task, due, expires, nonce, payload or f"<{job_id}>".encode())


def record(state: str, **fields: object) -> State:
    """Describe a record: that of `new_job`, enqueued at the start of the moved clock."""
    return {"state": state, "lane": "default:5", "task": "add", "enqueued": START, **fields}


def without(state: Mapping[str, Any], *names: str) -> State:
    """Leave keys out of a dump that are not what a test is about."""
    return {name: value for name, value in state.items() if name not in names}


@asynccontextmanager
async def broker_on(
    place: Place, *, url: str | None = None, enqueue_timeout: float = 5.0
) -> AsyncGenerator[Broker]:
    """Open a broker on a place; when it is closed, no task of its may be left."""
    before = asyncio.all_tasks()
    topology = parse(url or place.url, prefix=place.prefix)
    broker = Broker(topology, place.keys, enqueue_timeout=enqueue_timeout)
    try:
        yield broker
    finally:
        await broker.aclose()
    await eventually(lambda: not _tasks_since(before))


def _tasks_since(before: set[asyncio.Task[object]]) -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() - before if task.get_name() != PROXY]
