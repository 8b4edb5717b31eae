-- Check what holds jobs back: lines, the gates before them, and the slots of limits.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   repair     0 or 1   1: mend what is found
--        items      2 each   name, member
-- REPLY  large      list     keys with more members than one call looks at: name each
--        findings   4 each   code, name, detail, what was done: '' nothing
--
-- name   of a key, after the prefix: hp:, hq:, hl:, hr:, sl:, sw:, lg:, or d
-- member '' the key itself, and its first members
--
-- Member, record and index are read in one moment, so what goes on meanwhile is no damage.

local call = redis.call
local prefix = KEYS[1]
local repair = ARGV[1] == '1'
local FIRST, STRIDE = 2, 2
local MEMBERS = 50 -- of a key that is given without one

-- include now
-- include lane
-- include record
-- include ring
-- include park
-- include slots
-- include places
-- include found

if repair then call('DEL', prefix .. '~') end -- a write that a full server allows

local function reopen(gate)
  return function()
    shut_gate(gate)
    open_gate(gate)
    return 'opened'
  end
end

local function check_gate(gate)
  local places = places_of(gate)
  local where = table.concat(places, ', '):gsub('^d$', 'the delayed set')
  if call('EXISTS', prefix .. 'hl:' .. gate) == 0 then
    if #places == 0 then return end
    found('gate-empty', gate, where, function()
      shut_gate(gate)
      return 'removed'
    end)
  elseif #places == 0 then
    found('gate-lost', gate, '', reopen(gate))
  elseif #places > 1 then
    found('gate-twice', gate, where, reopen(gate))
  elseif string.sub(places[1], 1, 3) ~= 'hr:' and not is_told(gate) then
    found('gate-deaf', gate, where, reopen(gate))
  end
end

-- include lines

function CHECKS.hr(lane, gate)
  if gate == '' then return end -- whose turn it is
  if lane_of(gate) == lane then return check_gate(gate) end
  found('gate-astray', gate, 'hr:' .. lane, function()
    call('ZREM', prefix .. 'hr:' .. lane, gate)
    if call('EXISTS', prefix .. 'hr:' .. lane, prefix .. 's:' .. lane) == 0 then
      call('SREM', prefix .. 'l', lane)
    end
    return 'removed'
  end)
end

function CHECKS.d(_, member)
  if is_gate(member) then check_gate(member) end
end

function CHECKS.sw(slot, gate)
  for word in limits_of(gate) do
    if word == slot then return check_gate(gate) end
  end
  found('gate-astray', gate, 'sw:' .. slot, unlist('sw:' .. slot, gate))
end

function CHECKS.lg(limit, gate)
  local place = places_of(gate)[1]
  if place and string.sub(place, 1, 3) ~= 'hr:' then return end
  found('sleeper-stale', gate, limit, function()
    call('SREM', prefix .. 'lg:' .. limit, gate)
    return 'removed'
  end)
end

-- Only what runs holds a slot; any other holder keeps it for ever.
function CHECKS.sl(slot, job_id)
  local record = record_of(job_id)
  local holds = ' ' .. (record[HOLDS] or '') .. ' '
  if record[STATE] == 'r' and string.find(holds, ' ' .. slot .. ' ', 1, true) then return end
  found('slot-leaked', job_id, slot, function()
    release(job_id, slot)
    return 'released'
  end)
end

-- include idle

local KEYS_OF = { hp = 'zset', hq = 'zset', hl = 'zset', hr = 'zset', sl = 'set', sw = 'zset', lg = 'set' }
local large = {}

local function members_of(name, kind)
  if kind == 'zset' then return call('ZRANGE', prefix .. name, 0, MEMBERS - 1) end
  return call('SRANDMEMBER', prefix .. name, MEMBERS)
end

local function check(name, member)
  local two, rest = string.sub(name, 1, 2), string.sub(name, 4)
  if name == 'd' then return CHECKS.d('', member) end
  local kind = KEYS_OF[two]
  if call('TYPE', prefix .. name).ok ~= kind then return end -- it is gone, or is found elsewhere
  if member ~= '' then
    local is_there = kind == 'zset' and call('ZSCORE', prefix .. name, member)
      or kind == 'set' and call('SISMEMBER', prefix .. name, member) == 1
    if is_there then CHECKS[two](rest, member) end
    return
  end
  local size = kind == 'zset' and call('ZCARD', prefix .. name) or call('SCARD', prefix .. name)
  if size > MEMBERS then large[#large + 1] = name end
  for _, each in ipairs(members_of(name, kind)) do CHECKS[two](rest, each) end
  if two == 'sw' then check_idle(rest) end
  if two == 'hl' then check_gate(rest) end
end

for at = FIRST, #ARGV, STRIDE do check(ARGV[at], ARGV[at + 1]) end
ring_all()
return { large, findings }
