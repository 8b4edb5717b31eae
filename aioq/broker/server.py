"""What the server says of itself: its version, what it does when it is full, what it keeps.

Managed servers refuse CONFIG, and an ACL may refuse INFO too; what cannot be read is unknown, and
never an error by itself.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aioq.broker.broker import Broker
from aioq.broker.resp import ReplyError
from aioq.broker.weather import Refused, Weather

OLDEST = (6, 2)
"""The first Redis that has all commands of the scripts; others say which Redis they are like."""
NOEVICTION = "noeviction"
"""The only `maxmemory-policy` under which a full server throws nothing away."""


class UnfitServer(Refused):
    """The server would let us in, but jobs are not safe there: its version, or its settings."""


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """One server; None stands for what could not be read."""

    name: str = "Redis"
    """Redis, Valkey, KeyDB, Dragonfly, Garnet."""
    version: str | None = None
    """Its own."""
    redis_version: str | None = None
    """Of the Redis that it is like, or is."""
    policy: str | None = None
    """What it does when it is full: its `maxmemory-policy`."""
    appendonly: bool | None = None
    """Whether it has an append-only file."""
    fsync: str | None = None
    """How often that file reaches the disk: always, everysec or no."""
    snapshots: bool | None = None
    """Whether it writes snapshots by itself."""
    memory: int | None = None
    """Bytes that it uses."""
    memory_limit: int | None = None
    """Its `maxmemory`; 0: none."""
    evicted: int | None = None
    """Keys that it has thrown away since it was started."""
    clients: int | None = None
    """Connections."""

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version or '(version unknown)'}"

    @property
    def is_too_old(self) -> bool:
        """Whether it lacks what the scripts need; a version that cannot be read is none too old."""
        found = re.match(r"(\d+)\.(\d+)", self.redis_version or "")
        return found is not None and (int(found[1]), int(found[2])) < OLDEST

    @property
    def keeps_nothing(self) -> bool:
        """Whether nothing of it is on a disk, for certain."""
        return self.appendonly is False and self.snapshots is False

    @property
    def persistence(self) -> str:
        """What it keeps, in words."""
        if self.appendonly:
            often = _FSYNC.get(self.fsync or "")
            return f"append-only file, {often}" if often else "append-only file"
        if self.appendonly is None:
            return "unknown"
        if self.snapshots is None:
            return "no append-only file"
        if self.snapshots:
            return "snapshots only: a crash of the server loses what came after the last one"
        return "none: a restart of the server loses every job"


_FSYNC = {
    "always": "fsync always",
    "everysec": "fsync every second",
    "no": "fsync left to the system",
}
_KINDS = {
    "valkey_version": "Valkey",
    "dragonfly_version": "Dragonfly",
    "garnet_version": "Garnet",
}


async def read(broker: Broker) -> ServerFacts:
    """Ask the server for its facts; one attempt.

    Raises:
        Weather: it cannot be asked now.
        Refused: it does not let us in at all.
    """
    info, policy, fsync, save = await asyncio.gather(
        _answer(broker, "INFO"),
        _setting(broker, "maxmemory-policy"),
        _setting(broker, "appendfsync"),
        _setting(broker, "save"),
    )
    said = _fields(info)
    if said.get("loading") == "1":  # it says meanwhile that it has no append-only file
        message = "LOADING the server reads its data from disk"
        raise Weather(message)
    policy = said.get("maxmemory_policy", policy)
    return facts(said, {"maxmemory-policy": policy, "appendfsync": fsync, "save": save})


def facts(info: Mapping[str, str], settings: Mapping[str, str | None]) -> ServerFacts:
    """Make facts of the fields of INFO, and of the settings that could be read."""
    redis_version = info.get("redis_version")
    name, version = "Redis", redis_version
    for field, kind in _KINDS.items():
        if field in info:
            name, version = kind, info[field].removeprefix("df-v")
    if "keydb" in info.get("executable", "").lower():
        name = "KeyDB"
    save = settings.get("save")
    return ServerFacts(
        name=name,
        version=version,
        redis_version=redis_version,
        policy=settings.get("maxmemory-policy"),
        appendonly={"1": True, "0": False}.get(info.get("aof_enabled", "")),
        fsync=settings.get("appendfsync"),
        snapshots=None if save is None else bool(save.strip()),
        memory=_number(info.get("used_memory")),
        memory_limit=_number(info.get("maxmemory")),
        evicted=_number(info.get("evicted_keys")),
        clients=_number(info.get("connected_clients")),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _fields(info: bytes | None) -> dict[str, str]:
    lines = (info or b"").decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if not line.startswith("#"))
    return {name: value.strip() for name, _, value in pairs}


async def _setting(broker: Broker, name: str) -> str | None:
    reply = await _answer(broker, "CONFIG", "GET", name)
    return reply[1].decode() if reply and len(reply) == 2 else None


async def _answer(broker: Broker, *command: str) -> Any:  # noqa: ANN401 - as the command replies
    """Return the reply to a command that the server may not know or allow; None: it does not."""
    try:
        return await broker.command(*command)
    except (ReplyError, Refused):
        return None
