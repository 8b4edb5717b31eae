-- Name jobs of a workflow, the last ones first.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   root       text     the job whose end is that of the workflow
--        first      int      how many were named before
--        count      int      at most so many
-- REPLY  job_ids    list

local call = redis.call
local prefix = KEYS[1]
local root, first, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local jobs = call('LRANGE', prefix .. 'gm:' .. root, -first - count, -first - 1)
local reversed = {}
for n = #jobs, 1, -1 do reversed[#reversed + 1] = jobs[n] end
return reversed
