-- Pass a doorbell token on: the worker that took it has no room.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   queue      text
-- REPLY  done       int      1

local call = redis.call
local prefix = KEYS[1]

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

-- include ring

ring(ARGV[1], 1)
return 1
