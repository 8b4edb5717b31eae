"""Limits on the server: stubs of their scripts, and how they are told, changed and read."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import NamedTuple, TypeVar

from aioq.broker import scripts
from aioq.broker.broker import Broker
from aioq.broker.resp import Reply
from aioq.broker.scripts import Call
from aioq.core.bucket import Bucket

T = TypeVar("T")

GATES_PER_CALL = 500
NAMES_PER_CALL = 250
LINES_PER_CALL = 1000


class Numbers(NamedTuple):
    """One limit, as the code declares it."""

    field: str
    """`b:<name>` or `c:<name>`."""
    numbers: str


class Declared(NamedTuple):
    """What the server says to a declaration."""

    version: int
    changed: list[str]
    """Fields of limits that are others than before."""


def declare(
    prefix: str, *, source: str, version: int, complete: bool, limits: Iterable[Numbers]
) -> Call[Declared]:
    """Say which limits the code has."""
    flat = [value for limit in limits for value in limit]
    arguments = (prefix, source, version, int(complete), *flat)
    return Call(scripts.load("limits/declare"), arguments, _parse_declared)


def _parse_declared(reply: Reply) -> Declared:
    version, changed = reply
    return Declared(version, [field.decode() for field in changed])


def change(prefix: str, *, limit: str, numbers: str) -> Call[bool]:
    """Set a limit at run time; False: the code does not declare it."""
    return Call(scripts.load("limits/change"), (prefix, limit, numbers), bool)


def wake(prefix: str, *, limit: str, most: int) -> Call[int]:
    """Let gates be looked at that sleep because of a limit; the reply counts them."""
    return Call(scripts.load("limits/wake"), (prefix, limit, most), int)


class Described(NamedTuple):
    """One limit, and what is left of it."""

    declared: str
    """`<version> <source> <numbers>`; "" where no code declares it."""
    changed: str
    """Numbers set at run time; "" where none are."""
    figure: int
    """Tokens that are there, or slots that are taken."""

    @property
    def source(self) -> str:
        """Whose code declares it; "" where none does."""
        return self.declared.partition(" ")[2].partition(" ")[0]

    @property
    def numbers(self) -> str:
        """The numbers that hold; "" where there is no such limit."""
        return _numbers(self.declared, self.changed)


def describe(prefix: str, *, limits: Sequence[str]) -> Call[list[Described]]:
    """Read limits."""
    return Call(scripts.load("limits/describe"), (prefix, *limits), _parse_described)


def _parse_described(reply: Reply) -> list[Described]:
    now_us, flat = reply
    described: list[Described] = []
    for *texts, state in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        declared, changed = (text.decode() for text in texts)
        if isinstance(state, int):
            described.append(Described(declared, changed, state))
        else:
            numbers = _numbers(declared, changed)
            tokens = Bucket.stored(numbers, state.decode()).tokens(now_us) if numbers else 0
            described.append(Described(declared, changed, tokens))
    return described


def _numbers(declared: str, changed: str) -> str:
    return changed or declared.partition(" ")[2].partition(" ")[2]


def count(prefix: str, *, lines: Sequence[bytes]) -> Call[int]:
    """Count the jobs in lines behind gates."""
    return Call(scripts.load("limits/count"), (prefix, *lines), int)


class Ticket(NamedTuple):
    """A place in the line of a bucket."""

    number: int
    """Below 0: it leaves."""
    cost: int


class Acquired(NamedTuple):
    """What one call of a client that waits has brought."""

    known: bool
    """False: it was away, and must bring all its tickets again."""
    wait_us: int
    """Until its first ticket has its turn, at the soonest."""
    granted: list[int]
    """Numbers of the tickets that were served."""


def acquire(
    prefix: str,
    *,
    limit: str,
    numbers: str,
    client: str,
    nonce: int,
    waits: bool,
    tickets: Iterable[Ticket],
) -> Call[Acquired]:
    """Wait in the line of a bucket."""
    flat = [value for ticket in tickets for value in ticket]
    arguments = (prefix, limit, numbers, client, nonce, int(waits), *flat)
    return Call(scripts.load("limits/acquire"), arguments, _parse_acquired)


def _parse_acquired(reply: Reply) -> Acquired:
    known, wait_us, granted = reply
    return Acquired(bool(known), wait_us, [int(number) for number in granted])


class LimitStore:
    """The limits on one server."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._prefix = broker.keys.prefix

    async def declare(
        self,
        source: str,
        limits: Iterable[Numbers],
        *,
        version: int,
        is_complete: bool,
        patience: float | None,
    ) -> int:
        """Say which limits a source has, and return the version of the process.

        Args:
            source: whose code it is.
            limits: what it declares.
            version: what the first declaration of this process has returned; 0: this is the first.
            is_complete: limits that the source had are gone, where they are not among these.
            patience: seconds of weather; None: for ever.
        """
        call = declare(
            self._prefix, source=source, version=version, complete=is_complete, limits=limits
        )
        declared = await self._broker.persist(call, patience=patience)
        for field in declared.changed:
            await self._wake(field, patience=patience)
        return declared.version

    async def change(self, field: str, numbers: str) -> bool:
        """Set a limit at run time, "" to go back; True where the code declares it."""
        patience = self._broker.enqueue_timeout
        call = change(self._prefix, limit=field, numbers=numbers)
        is_declared = await self._broker.persist(call, patience=patience)
        await self._wake(field, patience=patience)
        return is_declared

    async def _wake(self, field: str, *, patience: float | None) -> None:
        woken = GATES_PER_CALL
        while woken == GATES_PER_CALL:
            call = wake(self._prefix, limit=field, most=GATES_PER_CALL)
            woken = await self._broker.persist(call, patience=patience)

    async def fields(self) -> list[str]:
        """Return the fields of all limits that are declared, or set at run time."""
        found: set[bytes] = set()
        for table in (self._broker.keys.declared_limits, self._broker.keys.changed_limits):
            found |= set(await self._command("HKEYS", table))
        return sorted(field.decode() for field in found if field[:2] in {b"b:", b"c:"})

    async def describe(self, fields: Sequence[str], key: str) -> AsyncGenerator[Described]:
        """Read limits, and what is left of each for one key."""
        for start in range(0, len(fields), NAMES_PER_CALL):
            part = [f"{field}:{key}" for field in fields[start : start + NAMES_PER_CALL]]
            call = describe(self._prefix, limits=part)
            for described in await self._ask(call):
                yield described

    async def waiting(self, field: str) -> int:
        """Count the jobs that wait at gates which sleep because of a limit."""
        total = 0
        async for gate in self._scan("SSCAN", f"lg:{field}"):
            lines: list[bytes] = []
            async for fair_key in self._scan("ZSCAN", f"hl:{gate.decode()}"):
                lines.append(gate + b" " + fair_key)
                if len(lines) == LINES_PER_CALL:
                    total += await self._ask(count(self._prefix, lines=lines))
                    lines = []
            if lines:
                total += await self._ask(count(self._prefix, lines=lines))
        return total

    async def _scan(self, command: str, key: str) -> AsyncGenerator[bytes]:
        """Go through the members of a set; of a sorted one without their scores."""
        cursor, step = b"0", 2 if command == "ZSCAN" else 1
        while True:
            cursor, found = await self._command(command, f"{self._prefix}{key}", cursor)
            for member in found[::step]:
                yield member
            if cursor == b"0":
                return

    async def _command(self, *command: str | bytes) -> Reply:
        broker = self._broker
        return await broker.through_weather(
            lambda: broker.command(*command), patience=broker.enqueue_timeout
        )

    async def _ask(self, call: Call[T]) -> T:
        return await self._broker.persist(call, patience=self._broker.enqueue_timeout)
