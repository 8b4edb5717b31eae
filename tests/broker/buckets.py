"""`include/bucket.lua` by itself, at any moment of a clock in microseconds."""

from collections.abc import Iterable
from importlib.resources import files

from aioq.broker.resp import Reply
from aioq.core.bucket import Numbers
from tests.broker.place import Place

_BUCKET = (files("aioq.broker") / "lua" / "include" / "bucket.lua").read_text("utf-8")
_HARNESS = (
    """
local call, prefix = redis.call, KEYS[1]
local replies = {}
local function step(now_us, cost)
  local time = { math.floor(now_us / 1000000), now_us % 1000000 }
"""
    + _BUCKET
    + """
  local bucket = read_bucket('stripe:')
  if not bucket then return 'unlimited' end
  local wait = job_wait_us(bucket, cost)
  if wait == 0 then spend(bucket, cost, 'j')
    write_bucket(bucket) else claim_for_job(bucket, cost, wait) end
  return string.format('%.0f %.0f', wait, bucket.level)
end
for n = 1, #ARGV, 2 do replies[#replies + 1] = step(tonumber(ARGV[n]), tonumber(ARGV[n + 1])) end
return replies
"""
)


def define(place: Place, numbers: Numbers, *, at: str = "lc", name: str = "stripe") -> None:
    """Write a definition; `at`: lc as the code does, lr as at run time."""
    text = f"1 source {numbers.text}" if at == "lc" else numbers.text
    place.admin("HSET", f"{place.prefix}{at}", f"b:{name}", text)


def take(place: Place, *steps: tuple[int, int]) -> list[tuple[int, int]]:
    """Let jobs start, in one call; return how long each must wait, and the level after it.

    Nothing is returned where there is no limit.

    Args:
        place: where.
        *steps: the moment, in microseconds, and the cost of each.
    """
    replies: Reply = place.admin("EVAL", _HARNESS, 1, place.prefix, *_flat(steps))
    if b"unlimited" in replies:
        return []
    return [(int(words[0]), int(words[1])) for words in map(bytes.split, replies)]


def _flat(steps: Iterable[tuple[int, int]]) -> list[int]:
    return [value for step in steps for value in step]
