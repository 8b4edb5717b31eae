-- Read one schedule; nothing is written.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   name       text
--        most       int      lines of history; -1 all
-- REPLY  now_ms     int      the server's clock
--        definition text     '' nobody knows the schedule
--        next       text     '' it has none: it is paused
--        is_paused  0 or 1
--        history    list     what became of its occurrences, the newest first: what, occurrence,
--                            when it was noted, a rest
--
-- what   f a job was made; n one was made by hand; o none, because the job before it had not ended;
--        m nobody was there in time, and none is made of all before the rest, a moment.  The rest
--        is else the id of a job: the one that was made, or the one that had not ended

local call = redis.call
local prefix = KEYS[1]
local name, most = ARGV[1], tonumber(ARGV[2])

-- include now

return {
  now_ms,
  call('HGET', prefix .. 'cr', name) or '',
  call('ZSCORE', prefix .. 'cz', name) or '',
  call('SISMEMBER', prefix .. 'cp', name),
  call('LRANGE', prefix .. 'ch:' .. name, 0, most < 0 and -1 or most - 1),
}
