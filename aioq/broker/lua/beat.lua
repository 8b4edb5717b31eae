-- Keep a worker alive: its lease, its presence, and the word that its queues are served.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   worker     text
--        lease_ms   int      how long this beat is good for
--        register   0 or 1   1: a new incarnation asks for its lease
--        presence   text     what the worker says of itself
--        queues     1 each   the queues it serves
-- REPLY  alive      int      1 the lease runs; 0 there is none, and it must not come back

local call = redis.call
local prefix = KEYS[1]
local worker, lease_ms, register, presence = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local FIRST_QUEUE = 5

-- include now

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
if register == '0' and not call('ZSCORE', prefix .. 'lw', worker) then
  return 0
end
call('ZADD', prefix .. 'lw', now_ms + lease_ms, worker)
call('SET', prefix .. 'w:' .. worker, presence, 'PX', lease_ms * 10)
for index = FIRST_QUEUE, #ARGV do
  call('SET', prefix .. 'sv:' .. ARGV[index], '', 'PX', lease_ms * 2)
end
return 1
