"""The stream of events: one connection per event loop reads its end, for all who want to know.

An entry is read when it is written, and passed on to those whose job is in it.  What a reader has
missed, since it came later or was too slow, it reads for itself.  Nothing here is the truth about a
job: where entries are gone the readers are told, and look at its record.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

from aioq.broker import scripts
from aioq.broker.connection import Connection, dial
from aioq.broker.keys import Keys
from aioq.broker.resp import Argument, Reply, ReplyError
from aioq.broker.scripts import Call
from aioq.broker.topology import Topology
from aioq.broker.weather import Refused, Weather, judge
from aioq.core.errors import BrokerUnavailable
from aioq.core.events import STATES, Position, Step, from_entry, read_position
from aioq.core.retry import reconnect_delay

T = TypeVar("T")

ENTRIES = 200
"""Entries that one read takes."""
BLOCK_MS = 4000
"""How long a read waits; a reply later than that means that the connection is half open."""
FIRST_PATIENCE = 5.0
"""Seconds a new reader waits for the connection before it fails."""
PER_CALL = 250
CALLS = 8
"""Of so many entries each: what is searched for the earlier steps of a job."""
START = Position(0, 0)


class History(NamedTuple):
    """What one call has found of the steps of a job."""

    after: str
    """Where to look on."""
    rest: bool
    """Whether there may be more."""
    steps: list[tuple[Step, Position]]


def history(prefix: str, *, job_id: str, after: str, most: int) -> Call[History]:
    """Find the steps of one job."""
    name = job_id.encode()

    def parse(reply: Reply) -> History:
        last, rest, flat = reply
        rows = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        steps = [(Step(letter.decode(), name, data), _place(at)) for at, letter, data in rows]
        return History(last.decode(), bool(rest), steps)

    return Call(scripts.load("events/history"), (prefix, job_id, after, most), parse)


class Line(Protocol):
    """The way to the server; the broker."""

    async def command(self, *command: Argument) -> Reply:
        """Run one plain command; one attempt."""
        ...

    def persist(self, call: Call[T], *, patience: float | None) -> Awaitable[T]:
        """Run a script through weather."""
        ...

    async def through_weather(
        self, attempt: Callable[[], Awaitable[T]], *, patience: float | None
    ) -> T:
        """Attempt something through weather."""
        ...


class Entry(NamedTuple):
    """One entry of the stream."""

    at: Position
    fields: list[bytes]


def read_entries(reply: Reply) -> list[Entry]:
    """Read what XRANGE replies."""
    return [Entry(_place(entry_id), fields) for entry_id, fields in reply]


def _place(entry_id: bytes) -> Position:
    return read_position(entry_id.decode())


class Listener(Protocol):
    """Whoever hears of entries as they are written."""

    def hear(self, entry: Entry) -> None:
        """Take an entry."""
        ...

    def doubt(self) -> None:
        """Learn that entries are gone which nobody here has read."""
        ...

    def fail(self, error: Exception) -> None:
        """Learn that nothing will be heard any more."""
        ...


class Follower:
    """Hears of the steps of one job; see `Feed.follow`."""

    def __init__(self, job_id: str) -> None:
        self.name: bytes = job_id.encode()
        self.steps: deque[tuple[Step, Position]] = deque()
        self.is_unsure: bool = False
        """Whether steps may be missing."""
        self.error: Exception | None = None
        self._news = asyncio.Event()

    def take(self, step: Step, at: Position) -> None:
        """Take a step; of reports that nobody has looked at meanwhile the last is enough."""
        if step.letter == "p" and self.steps and self.steps[-1][0].letter == "p":
            self.steps.pop()
        self.steps.append((step, at))
        self._news.set()

    def doubt(self) -> None:
        """Learn that steps may be missing."""
        self.is_unsure = True
        self._news.set()

    def fail(self, error: Exception) -> None:
        """Learn that nothing will be heard any more."""
        self.error = error
        self._news.set()

    async def heard(self, seconds: float) -> bool:
        """Wait for any of these; False: nothing has come in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class Feed:
    """The end of the stream, read for all on one event loop."""

    def __init__(self, topology: Topology, keys: Keys, line: Line) -> None:
        self.prefix: str = keys.prefix
        self.line: Line = line
        self.position: Position = START
        """The last entry that was passed on."""
        self.is_open: bool = False
        """Whether events are written."""
        self._topology = topology
        self._key = keys.events
        self._listeners: set[Listener] = set()
        self._followers: dict[bytes, list[Follower]] = {}
        self._connection: Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._live = asyncio.Event()
        self._was_up = False

    @property
    def readers(self) -> int:
        """How many read."""
        return len(self._readers())

    async def listen(self, listener: Listener) -> None:
        """Let somebody hear every entry behind `position`, which is known from here on.

        Raises:
            BrokerUnavailable: the stream could not be read even once.
        """
        self._listeners.add(listener)
        await self._ready()

    async def follow(self, follower: Follower) -> None:
        """Let somebody hear of the steps of one job; see `listen`."""
        self._followers.setdefault(follower.name, []).append(follower)
        await self._ready()

    def leave(self, reader: Listener | Follower) -> None:
        """Stop; the connection goes with the last reader."""
        if isinstance(reader, Follower):
            others = self._followers.get(reader.name, [])
            if reader in others:
                others.remove(reader)
            if not others:
                self._followers.pop(reader.name, None)
        else:
            self._listeners.discard(reader)
        if not self._listeners and not self._followers:
            self._close()

    def drop(self) -> None:
        """Close; those who read get a BrokerUnavailable."""
        for reader in self._readers():
            reader.fail(BrokerUnavailable("the app was closed while its events were read"))
        self._close()

    async def entries(self, first: Position) -> list[Entry]:
        """Read entries from a place on, that one included; persists for ever."""
        return await self._range("XRANGE", first.entry_id, "+", "COUNT", ENTRIES)

    async def oldest(self) -> Entry | None:
        """Return the oldest entry that is kept."""
        found = await self._range("XRANGE", "-", "+", "COUNT", 1)
        return found[0] if found else None

    async def _range(self, command: str, *arguments: Argument) -> list[Entry]:
        line = self.line

        async def ask() -> list[Entry]:
            return read_entries(await line.command(command, self._key, *arguments))

        return await line.through_weather(ask, patience=None)

    def _readers(self) -> list[Listener | Follower]:
        return [*self._listeners, *(each for some in self._followers.values() for each in some)]

    def _close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if self._connection is not None:
            self._connection.drop()
            self._connection = None
        self._live.clear()

    async def _ready(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._live.clear()
            self._keeper = asyncio.create_task(self._keep())
        if self._live.is_set():
            return
        keeper = self._keeper
        ready = asyncio.ensure_future(self._live.wait())
        try:
            await asyncio.wait(
                {ready, keeper}, timeout=FIRST_PATIENCE, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
        if keeper.done() and not keeper.cancelled():
            keeper.result()  # a refusal is nobody else's to report
        if not self._live.is_set():
            message = f"{self._topology.seeds[0]} does not answer; its events cannot be read"
            raise BrokerUnavailable(message)

    async def _keep(self) -> None:
        """Hold the connection."""
        failures = 0
        while True:
            try:
                await self._hold()
            except (Weather, BrokerUnavailable) as error:
                if isinstance(error, Refused) and not self._live.is_set():
                    raise
                failures = 0 if self._was_up else failures + 1
                await asyncio.sleep(reconnect_delay(failures))
            finally:
                if self._connection is not None:
                    self._connection.drop()

    async def _hold(self) -> None:
        """Read until the connection is lost."""
        self._was_up = False
        connection = self._connection = await dial(self._topology)
        try:
            await self._orient(connection)
            self._was_up = True
            self._live.set()
            while True:
                reply = await connection.call(
                    *("XREAD", "COUNT", ENTRIES, "BLOCK", BLOCK_MS),
                    *("STREAMS", self._key, self.position.entry_id),
                )
                if not reply:
                    await self._orient(connection)
                    continue
                entries = read_entries(reply[0][1])
                if len(entries) == ENTRIES:  # far behind, perhaps too far
                    await self._check_gap(connection)
                self.is_open = True
                for entry in entries:
                    self._pass_on(entry)
        except ReplyError as error:
            raise judge(error) from None

    async def _orient(self, connection: Connection) -> None:
        """Find out where the stream ends, and whether anything is gone that was not read."""
        newest = read_entries(await connection.call("XREVRANGE", self._key, "+", "-", "COUNT", 1))
        was_open, self.is_open = self.is_open, bool(newest)
        end = newest[0].at if newest else START
        if not self._live.is_set():
            self.position = end
        elif end.place < self.position.place:  # a server that has lost its data
            self.position = end
            self._doubt()
        elif self.is_open != was_open:
            self._doubt()
        elif end.place > self.position.place:
            await self._check_gap(connection)

    async def _check_gap(self, connection: Connection) -> None:
        oldest = read_entries(await connection.call("XRANGE", self._key, "-", "+", "COUNT", 1))
        if oldest and oldest[0].at.place > self.position.place:
            self._doubt()

    def _doubt(self) -> None:
        for reader in self._readers():
            reader.doubt()

    def _pass_on(self, entry: Entry) -> None:
        self.position = entry.at
        for listener in self._listeners:
            listener.hear(entry)
        if not self._followers:
            return
        for step, at in from_entry(entry.at, entry.fields):
            for follower in self._followers.get(step.job_id, ()):
                follower.take(step, at)


async def look_back(feed: Feed, follower: Follower, after: str) -> bool:
    """Put the steps that a job has made so far in front of those still to come.

    Args:
        feed: where the follower listens already.
        follower: whose job it is.
        after: the entry behind which to look.

    Returns:
        Whether all was looked at; a long stream is not, for the sake of the server.
    """
    found: list[tuple[Step, Position]] = []
    rest, calls = True, 0
    while rest and calls < CALLS:
        call = history(feed.prefix, job_id=follower.name.decode(), after=after, most=PER_CALL)
        part = await feed.line.persist(call, patience=None)
        found += part.steps
        after, rest, calls = part.after, part.rest, calls + 1
    ended = [n for n, (step, _) in enumerate(found[:-1]) if STATES[step.letter].is_final]
    if ended:  # a dead letter that was replayed: what was before it is another life
        del found[: ended[-1] + 1]
    last = read_position(after).place
    later = [each for each in follower.steps if each[1].place > last]
    follower.steps = deque([*found, *later])
    return not rest
