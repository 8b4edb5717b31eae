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

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
local changed = call('SADD', prefix .. 'qp', queue)
call('DEL', prefix .. 'b:' .. queue) -- its tokens would wake nobody for anything
return changed
