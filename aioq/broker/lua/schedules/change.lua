-- Pause a schedule, let it go on, or remove it.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   name       text
--        op         text     p pause; r go on; d remove
--        version    text     r: the SHA-1 of the definition from which `next_ms` was computed
--        next_ms    int      r: its next occurrence
-- REPLY  done       int      1; 0: nobody knows the schedule, or it has changed meanwhile
--
-- A paused schedule has no next occurrence, and so nobody fires it.

local call = redis.call
local prefix = KEYS[1]
local name, op, version, next_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- include forget

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

local definition = call('HGET', prefix .. 'cr', name)
local has_changed = false
if op == 'd' then
  has_changed = forget(name)
elseif not definition or op == 'r' and redis.sha1hex(definition) ~= version then
  return 0
elseif op == 'p' then
  has_changed = call('SADD', prefix .. 'cp', name) == 1
  call('ZREM', prefix .. 'cz', name)
elseif call('SREM', prefix .. 'cp', name) == 1 then
  has_changed = true
  call('ZADD', prefix .. 'cz', next_ms, name)
end
if has_changed then call('PUBLISH', prefix .. 'n', '') end
return 1
