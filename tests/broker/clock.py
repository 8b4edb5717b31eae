"""A clock that is moved, not waited for.

The scripts ask what time it is in one included file; here that file reads a key, and the ids of
entries begin with the same time.  Keys still expire by the server's own clock.
"""

import hashlib
from functools import cache
from importlib.resources import files

from aioq.broker import scripts
from aioq.broker.scripts import Script
from tests.broker.place import CLOCK, START, Place

_NOW = (files("aioq.broker") / "lua" / "include" / "now.lua").read_text("utf-8")
_ANCHOR = "local prefix = KEYS[1]\n"
_ADD = "'*', "
_MOVABLE = f"""
local now_ms = tonumber(redis.call('GET', prefix .. '{CLOCK}'))
local time = {{ math.floor(now_ms / 1000), now_ms % 1000 * 1000 }}
"""


class Clock:
    """The time of one place."""

    def __init__(self, place: Place, now_ms: int = START) -> None:
        self._place = place
        self.now_ms = now_ms
        self._write()

    @staticmethod
    def load(name: str) -> Script:
        """Stand in for `scripts.load`."""
        return _load(name)

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.now_ms += ms
        self._write()

    def _write(self) -> None:
        self._place.admin("SET", self._place.prefix + CLOCK, self.now_ms)


@cache
def _load(name: str) -> Script:
    source = scripts.read(name)
    if _NOW in source or _ADD in source:  # first of all: an entry id needs the time too
        source = source.replace(_NOW, "").replace(_ANCHOR, _ANCHOR + _MOVABLE)
        source = source.replace(_ADD, "now_ms .. '-*', ")
    return Script(name, source, hashlib.sha1(source.encode()).hexdigest())  # noqa: S324 - Redis's
