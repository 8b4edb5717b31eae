-- What is known of an entry of a lane, beside its job's record.  Needs `group`.

-- Whether the group has gone past it, so that no fetch brings it any more.
local function was_handed_out(lane, entry_id)
  local group = group_of(lane)
  local ms, n = string.match(entry_id, '^(%d+)-(%d+)$')
  local last_ms, last_n = string.match(group and group['last-delivered-id'] or '0-0', '^(%d+)-(%d+)$')
  ms, n, last_ms, last_n = tonumber(ms), tonumber(n), tonumber(last_ms), tonumber(last_n)
  if not n then return false end
  return ms < last_ms or (ms == last_ms and n <= last_n)
end

local function holder_of(lane, entry_id)
  local pending = redis.pcall('XPENDING', prefix .. 's:' .. lane, 'w', entry_id, entry_id, 1)
  return not pending.err and pending[1] and pending[1][2]
end

-- The payload, if the entry is there and is the job's.
local function payload_of(lane, entry_id, job_id)
  local entry = redis.pcall('XRANGE', prefix .. 's:' .. lane, entry_id, entry_id)
  local fields = not entry.err and entry[1] and entry[1][2] or {}
  return fields[1] == 'j' and fields[2] == job_id and fields[3] == 'p' and fields[4]
end

local function remove_entry(lane, entry_id)
  redis.pcall('XACK', prefix .. 's:' .. lane, 'w', entry_id)
  redis.pcall('XDEL', prefix .. 's:' .. lane, entry_id)
end
