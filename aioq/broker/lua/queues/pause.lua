-- Pause a queue: from here on no job of it is handed out, to any worker.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   queue      text     one that nobody knows may come yet
-- REPLY  changed    int      1: it was not paused; 0: it was
--
-- What runs goes on, and what comes or becomes due waits in its lane.

local call = redis.call
local prefix = KEYS[1]
local queue = ARGV[1]
local ENOUGH = 100 -- ready gates of a lane that are looked at

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

-- include now
-- include lane
-- include ring
-- include park
-- include slots
-- include bucket
-- include yield

local changed = call('SADD', prefix .. 'qp', queue)
call('DEL', prefix .. 'b:' .. queue) -- its tokens would wake nobody for anything
-- A gate that was woken for a slot keeps it from no other queue.
for level in string.gmatch('0123456789z', '.') do
  local gates = call('ZRANGE', prefix .. 'hr:' .. queue .. ':' .. level, 0, ENOUGH - 1)
  for _, gate in ipairs(gates) do
    if gate ~= '' then yield(gate) end -- '': whose turn it is
  end
end
ring_all()
return changed
