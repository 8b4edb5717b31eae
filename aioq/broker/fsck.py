"""Check that records and indexes tell the same story, and mend what does not.

Live traffic goes on meanwhile.  Only names are read ahead; whatever is said of a thing is found out
within one script, which reads its record and all its indexes in one moment.  So nothing that is
on its way is taken for damage, and no call holds the server for long.
"""

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from aioq.broker import scripts
from aioq.broker.broker import DEAD_LETTERS, Broker, reap
from aioq.broker.findings import Finding, Report
from aioq.broker.keys import TABLE
from aioq.broker.resp import Argument, Reply
from aioq.broker.scripts import Call
from aioq.core import codec
from aioq.core.errors import AioqError
from aioq.core.outcome import KEEP_DEAD_MS

T = TypeVar("T")

JOBS_PER_CALL = 50
ENTRIES_PER_CALL = 100
KEYS_PER_CALL = 100
MEMBERS_PER_CALL = 20
NAMES_PER_SCAN = 500


class PayloadLost(AioqError):
    """The arguments of a job are gone from the server; kept as the reason in the dead letter."""


class KeyCheck(NamedTuple):
    """One key for `fsck/keys.lua`, which says what each value means."""

    name: bytes
    type: str
    expiry: int


class Member(NamedTuple):
    """One member of a key for `fsck/gates.lua`."""

    name: bytes
    """Of the key."""
    member: bytes
    """b"" where it is the key itself that is meant."""


class LaneSlice(NamedTuple):
    """What one call has found in a lane."""

    after: str
    waiting: int
    held: int
    findings: list[Finding]


def keys(prefix: str, *, repair: bool, keys: Iterable[KeyCheck]) -> Call[list[Finding]]:
    """Check keys by themselves."""
    flat = [value for key in keys for value in key]
    return Call(scripts.load("fsck/keys"), (prefix, int(repair), *flat), _findings)


def lane(prefix: str, *, repair: bool, lane: str, after: str, most: int) -> Call[LaneSlice]:
    """Check a slice of a lane."""
    arguments = (prefix, int(repair), lane, after, most)
    return Call(scripts.load("fsck/lane"), arguments, _parse_slice)


def jobs(
    prefix: str,
    *,
    repair: bool,
    dead_ms: int,
    dead_max: int,
    lost: bytes,
    job_ids: Sequence[Argument],
) -> Call[tuple[int, list[Finding]]]:
    """Check jobs; the reply says how many of them, from the first."""
    arguments = (prefix, int(repair), dead_ms, dead_max, lost, *job_ids)
    return Call(scripts.load("fsck/jobs"), arguments, _parse_jobs)


def gates(
    prefix: str, *, repair: bool, items: Iterable[Member]
) -> Call[tuple[list[bytes], list[Finding]]]:
    """Check lines, gates and slots; the reply says of which keys there is more to be checked."""
    flat = [value for item in items for value in item]
    return Call(scripts.load("fsck/gates"), (prefix, int(repair), *flat), _parse_gates)


def _parse_slice(reply: Reply) -> LaneSlice:
    after, waiting, held, findings = reply
    return LaneSlice(after.decode(), waiting, held, _findings(findings))


def _parse_jobs(reply: Reply) -> tuple[int, list[Finding]]:
    checked, findings = reply
    return checked, _findings(findings)


def _parse_gates(reply: Reply) -> tuple[list[bytes], list[Finding]]:
    large, findings = reply
    return large, _findings(findings)


def _findings(flat: list[bytes | int]) -> list[Finding]:
    words = [str(word) if isinstance(word, int) else word.decode(errors="replace") for word in flat]
    return [Finding(*words[at : at + 4]) for at in range(0, len(words), 4)]


class Examiner:
    """Goes once through all keys of an app.

    Args:
        broker: its server.
        repair: mend what is found; whatever is mended is mended in the call that found it.
    """

    def __init__(self, broker: Broker, *, repair: bool = False) -> None:
        self._broker = broker
        self._prefix = broker.keys.prefix
        self._repair = repair
        self._report = Report()
        self._seen: dict[tuple[str, str, str], Finding] = {}

    async def examine(self) -> Report:
        """Examine everything.

        Raises:
            Weather, BrokerUnavailable: the server went away in the middle; begin anew.
        """
        report = self._report
        lanes = await self._check_keys()
        if any(finding.code == "key-type" for finding in self._seen.values()):
            report.is_complete = False
        else:
            # Lanes first: the payload of a job that has lost its entry may lie in a stray one.
            for each in sorted(lanes):
                await self._check_lane(each)
            await self._reap()
            await self._check_jobs()
            await self._check_gates()
            report.dead_letters = await self._broker.command("ZCARD", f"{self._prefix}x")
            report.overdue = await self._overdue()
            if self._repair and self._seen:
                for each in report.waiting:
                    await self._count(each)
        report.findings = list(self._seen.values())
        return report

    async def _check_keys(self) -> set[str]:
        """Check what is no job's and no lane; return the lanes that are named anywhere."""
        lanes: set[str] = set()
        async for names in self._names():
            lanes |= {name[2:].decode(errors="replace") for name in names if name[:2] == b"s:"}
            lanes |= {name[3:].decode(errors="replace") for name in names if name[:3] == b"hr:"}
            rest = [_key_check(name) for name in names if name[:2] not in _JOBS]
            for start in range(0, len(rest), KEYS_PER_CALL):
                part = rest[start : start + KEYS_PER_CALL]
                self._note(await self._ask(keys(self._prefix, repair=self._repair, keys=part)))
        for index in ("l", "ss"):
            if ("key-type", index) not in {key[:2] for key in self._seen}:
                members = await self._broker.command("SMEMBERS", f"{self._prefix}{index}")
                lanes |= {member.decode(errors="replace") for member in members}
        return lanes

    async def _check_lane(self, name: str) -> None:
        after, is_first = "", True
        while is_first or after:
            found = await self._ask(
                lane(
                    self._prefix,
                    repair=self._repair,
                    lane=name,
                    after=after,
                    most=ENTRIES_PER_CALL,
                )
            )
            if is_first:
                self._report.waiting[name], self._report.held[name] = found.waiting, found.held
                is_first = False
            after = found.after
            self._note(found.findings)

    async def _count(self, name: str) -> None:
        """Count anew what lies in a lane."""
        call = lane(self._prefix, repair=False, lane=name, after="", most=0)
        found = await self._ask(call)
        self._report.waiting[name], self._report.held[name] = found.waiting, found.held

    async def _reap(self) -> None:
        """Take over what workers without a lease hold: nobody else would ever look for them."""
        if not self._repair:
            return
        found = [each for each in self._seen.values() if each.code == "worker-unleased"]
        for worker in {finding.name for finding in found}:
            rest = True
            while rest:
                # Of its end nothing is known, so it is not counted as a crash of its jobs.
                call = reap(self._prefix, worker, is_crash=False, lease_ms=0)
                rest = (await self._ask(call)).rest
        for finding in found:
            self._seen[_identity(finding)] = replace(finding, did="reaped")

    async def _check_jobs(self) -> None:
        async for names in self._names():
            self._report.jobs += sum(name[:2] == b"j:" for name in names)
            await self._check_some({name[2:] for name in names if name[:2] in _JOBS})
        for index in ("d", "x"):
            async for members in self._members(index):
                await self._check_some([each for each in members if not _is_gate(each)])

    async def _check_gates(self) -> None:
        """Check what holds jobs back; after the jobs, for one that is lined up opens its gate."""
        async for names in self._names():
            parked = [name for name in names if name[:3] == b"hp:"]
            for name in parked:
                count = await self._broker.command("ZCARD", f"{self._prefix}{name.decode()}")
                self._report.parked[name[3:].decode()] = count
            held = [Member(name, b"") for name in names if name[:3] in _HOLDING]
            for name in await self._check_members(held):
                async for members in self._members(name.decode()):
                    await self._check_members([Member(name, each) for each in members])
        sleeping = 0
        async for members in self._members("d"):
            found = [Member(b"d", each) for each in members if _is_gate(each)]
            sleeping += len(found)
            await self._check_members(found)
        jobs_and_gates = await self._broker.command("ZCARD", f"{self._prefix}d")
        self._report.delayed = max(jobs_and_gates - sleeping, 0)

    async def _check_members(self, items: Sequence[Member]) -> list[bytes]:
        large: list[bytes] = []
        for start in range(0, len(items), MEMBERS_PER_CALL):
            part = items[start : start + MEMBERS_PER_CALL]
            more, findings = await self._ask(gates(self._prefix, repair=self._repair, items=part))
            large += more
            self._note(findings)
        return large

    async def _check_some(self, job_ids: Iterable[bytes]) -> None:
        error = PayloadLost("its arguments are gone from the server, so it cannot be run any more")
        rest = list(job_ids)
        while rest:
            call = jobs(
                self._prefix,
                repair=self._repair,
                dead_ms=KEEP_DEAD_MS,
                dead_max=DEAD_LETTERS,
                lost=codec.encode_error(error, with_traceback=False),
                job_ids=rest[:JOBS_PER_CALL],
            )
            checked, findings = await self._ask(call)
            rest = rest[checked:]
            self._note(findings)

    async def _overdue(self) -> int:
        seconds, microseconds = await self._broker.command("TIME")
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        return await self._broker.command("ZCOUNT", self._broker.keys.leases, "-inf", now_ms)

    async def _names(self) -> AsyncGenerator[list[bytes]]:
        """Read the names of all keys, without the prefix, a part at a time."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + "*"
        cursor = b"0"
        while True:
            cursor, found = await self._broker.command(
                "SCAN", cursor, "MATCH", pattern, "COUNT", NAMES_PER_SCAN
            )
            yield [name[len(self._prefix.encode()) :] for name in found]
            if cursor == b"0":
                return

    async def _members(self, index: str) -> AsyncGenerator[list[bytes]]:
        """Read the members of a sorted set, or of a set, a part at a time."""
        is_set = index.startswith(("sl:", "lg:"))
        command, width = ("SSCAN", 1) if is_set else ("ZSCAN", 2)
        cursor = b"0"
        while True:
            cursor, flat = await self._broker.command(
                command, f"{self._prefix}{index}", cursor, "COUNT", NAMES_PER_SCAN
            )
            yield flat[::width]
            if cursor == b"0":
                return

    async def _ask(self, call: Call[T]) -> T:
        return await self._broker.persist(call, patience=self._broker.enqueue_timeout)

    def _note(self, findings: Iterable[Finding]) -> None:
        """Keep each finding once: a job is looked at from its record and from each index."""
        for finding in findings:
            known = self._seen.get(_identity(finding))
            if known is None or not known.did:
                self._seen[_identity(finding)] = finding


def _identity(finding: Finding) -> tuple[str, str, str]:
    return finding.code, finding.name, finding.detail


_JOBS = (b"j:", b"y:", b"v:")
_HOLDING = (b"hp:", b"hq:", b"hl:", b"hr:", b"sl:", b"sw:", b"lg:")
_GATE = re.compile(rb"\S+:[0-9z] ")
_VARIABLE = re.compile(r"<\w+>")
_KINDS = [
    (re.compile(".+".join(map(re.escape, _VARIABLE.split(kind.name))), re.DOTALL), kind)
    for kind in TABLE
    if kind.type not in {"", "channel"}
]
_LASTING = {"none", "constant"}


def _is_gate(member: bytes) -> bool:
    """Tell a gate from a job in the delayed set."""
    return _GATE.match(member) is not None


def _key_check(name: bytes) -> KeyCheck:
    text = name.decode(errors="replace")
    for pattern, kind in _KINDS:
        if pattern.fullmatch(text):
            return KeyCheck(name, kind.type, int(kind.expiry not in _LASTING))
    return KeyCheck(name, "", 0)
