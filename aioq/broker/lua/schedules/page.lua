-- Read a page of the schedules, in no order; nothing is written.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   after      text     what the call before has replied; '0' begins
--        most       int      schedules per call, about
-- REPLY  after      text     for the next call; '0' there is no more
--        schedules  5 each   name, definition, next ('' none), is_paused (0 or 1), last (a line of
--                            its history; '' none)
--
-- One that is there all the while is in some page, and may be in two.

local call = redis.call
local prefix = KEYS[1]
local after, most = ARGV[1], ARGV[2]

local page = call('HSCAN', prefix .. 'cr', after, 'COUNT', most)
local found, flat = {}, page[2]
for n = 1, #flat, 2 do
  local name, size = flat[n], #found
  found[size + 1], found[size + 2] = name, flat[n + 1]
  found[size + 3] = call('ZSCORE', prefix .. 'cz', name) or ''
  found[size + 4] = call('SISMEMBER', prefix .. 'cp', name)
  found[size + 5] = call('LRANGE', prefix .. 'ch:' .. name, 0, 0)[1] or ''
end
return { page[1], found }
