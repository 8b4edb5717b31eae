-- Write schedules as their source has them now: those of an app's code, or made at run time.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   source     text     module:app; '' they are made at run time
--        version    int      when the process began that says so, ms
--        changes    4 each   name, definition, next_ms, keep
-- REPLY  refused    int      1: a newer process of this source has spoken, and nothing was done
--        strangers  2 each   name, source: those that belong to another source, and were left alone
--
-- definition  begins with its source and a line feed; '' the schedule is gone from its source
-- keep        its next occurrence stays as it is if this is the SHA-1 of the definition before it;
--             `next_ms` is for all others, and for a schedule that has none
--
-- What is as it should be is not touched, so that this may be sent again, and by every worker that
-- starts.  A pause outlives each change.  A word that was spoken later than now binds nobody: the
-- server's clock was put back, and all that starts until then would be refused.

local call = redis.call
local prefix = KEYS[1]
local source, version = ARGV[1], tonumber(ARGV[2])
local FIRST, STRIDE = 3, 4

-- include now
-- include forget

call('DEL', prefix .. '~') -- a write that a full server allows, so that a worker can start

if source ~= '' then
  local spoken = tonumber(call('HGET', prefix .. 'cs', source) or 0)
  if spoken > version and spoken <= now_ms then return { 1, {} } end
  call('HSET', prefix .. 'cs', source, ARGV[2])
end

local strangers, news = {}, false

local function write(name, definition, next_ms, keep)
  local before = call('HGET', prefix .. 'cr', name)
  local owner = before and string.match(before, '^[^\n]*')
  if definition == '' then
    news = owner == source and forget(name) or news
    return
  end
  if owner and owner ~= source then
    strangers[#strangers + 1], strangers[#strangers + 2] = name, owner
    return
  end
  if before ~= definition then
    call('HSET', prefix .. 'cr', name, definition)
    news = true
  end
  if call('SISMEMBER', prefix .. 'cp', name) == 1 then return end
  if before == definition or before and redis.sha1hex(before) == keep then
    call('ZADD', prefix .. 'cz', 'NX', next_ms, name)
  else
    call('ZADD', prefix .. 'cz', next_ms, name)
  end
end

for at = FIRST, #ARGV, STRIDE do
  write(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
if news then call('PUBLISH', prefix .. 'n', '') end
return { 0, strangers }
