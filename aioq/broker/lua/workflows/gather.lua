-- Read a part of what a job has gathered from those it waited for.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   job_id     text
--        first      int      number of the first result
--        count      int      at most so many
-- REPLY  shape      text     of a gather: where each result belongs; nil of any other job
--        items      list     each a letter of state, and the value; nil where there is none

local call = redis.call
local prefix = KEYS[1]
local job_id, first, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local names = { 's' }
for n = 1, count do names[n + 1] = first + n - 1 end
local values = call('HMGET', prefix .. 'g:' .. job_id, unpack(names))
local shape = table.remove(values, 1)
return { shape, values }
