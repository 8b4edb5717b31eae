"""The scripts on a clock that the simulation moves, forwards by itself and at times in jumps.

As in `tests/broker/clock.py` the time is a key.  Here it may go back, and then the ids of entries
must go on from the last one, as those that a server makes do.
"""

import hashlib
import re
from importlib.resources import files

from aioq.broker import scripts
from aioq.broker.scripts import Script
from tests.broker.place import CLOCK

_NOW = (files("aioq.broker") / "lua" / "include" / "now.lua").read_text("utf-8")
_ANCHOR = "local prefix = KEYS[1]\n"
_ADD = re.compile(r"call\('XADD', (?!prefix \.\. 'ev')")  # there are no events here
_MOVABLE = f"""
local now_ms = tonumber(redis.call('GET', prefix .. '{CLOCK}'))
local time = {{ math.floor(now_ms / 1000), now_ms % 1000 * 1000 }}

local function add_entry(stream, _, ...)
  local added = redis.pcall('XADD', stream, now_ms .. '-*', ...)
  if type(added) ~= 'table' then return added end
  local last
  if string.find(added.err, 'equal or smaller', 1, true) then
    local about = redis.call('XINFO', 'STREAM', stream)
    for n = 1, #about, 2 do
      if about[n] == 'last-generated-id' then last = string.match(about[n + 1], '^%d+') end
    end
  end
  return redis.call('XADD', stream, (last or now_ms) .. '-*', ...)
end
"""


class Scripts:
    """Stands in for `scripts.load`; reads each file once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Script] = {}

    def load(self, name: str) -> Script:
        """Return a script that lives in the simulated time."""
        if name not in self._loaded:
            source = movable(scripts.read(name))
            sha = hashlib.sha1(source.encode()).hexdigest()  # noqa: S324 - Redis's
            self._loaded[name] = Script(name, source, sha)
        return self._loaded[name]


def movable(source: str) -> str:
    """Put the movable clock into a source that asks for the time, or adds to a stream."""
    if _NOW not in source and not _ADD.search(source):
        return source
    assert source.count(_ANCHOR) == 1, "where the clock goes is not clear any more"
    source = _ADD.sub("add_entry(", source.replace(_NOW, ""))
    return source.replace(_ANCHOR, _ANCHOR + _MOVABLE)
