-- Let a large plan begin, now that all of its jobs are there.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   root       text     the job whose end is that of the workflow
-- REPLY  begun      int      1 it has begun; 0 it was given up before, or nobody knows it

local call = redis.call
local prefix = KEYS[1]
local root = ARGV[1]

-- include now
-- include lane
-- include ring
-- include event
-- include finish
-- include enqueued
-- include follow

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
local state = call('HGET', prefix .. 'j:' .. root, 's')
local is_wanted = state and state ~= 'x'
if call('ZREM', prefix .. 'go', root) == 1 then
  call('RPUSH', prefix .. 'gl', (is_wanted and 's ' or 'x ') .. root .. ' 0')
  follow(true)
  ring_all()
  write_events()
end
return is_wanted and 1 or 0
