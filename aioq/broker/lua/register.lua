-- A new incarnation of a worker asks for its lease, and says what its tasks may survive.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   worker     text     a name that was never used before
--        lease_ms   int      how long this is good for; beats renew it
--        events     0 or 1   1: events are to be written; 0: and those that are there go
--        limits     2 each   task, limit
-- REPLY  done       int      1
--
-- limit: how many deaths of its worker bury a job of the task.  0 the first one, as the job is run
-- at most once; inf none; '' as many as where nothing is said: 3.  Whoever reaps a job may not know
-- its task, so the limits lie on the server.

local call = redis.call
local prefix = KEYS[1]
local worker, lease_ms = ARGV[1], tonumber(ARGV[2])
local writes_events = ARGV[3] == '1'
local FIRST, STRIDE = 4, 2

-- include now
-- include watch

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
watch(lease_ms)
local events = prefix .. 'ev' -- whoever registers last decides
if not writes_events then
  call('UNLINK', events)
elseif call('EXISTS', events) == 0 then
  call('XADD', events, '*', 'o', worker)
end
for index = FIRST, #ARGV, STRIDE do
  if ARGV[index + 1] == '' then
    call('HDEL', prefix .. 'o', ARGV[index])
  else
    call('HSET', prefix .. 'o', ARGV[index], ARGV[index + 1])
  end
end
-- NX: one that comes late must not bring back a worker that is being reaped.
call('ZADD', prefix .. 'lw', 'NX', now_ms + lease_ms, worker)
return 1
