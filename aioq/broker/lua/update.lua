-- Note something on running deliveries: waiting inside the worker, started, progress.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   count      int      number of updates
--        updates    4 each   job_id, entry_id, mark, progress
-- REPLY  accepted   text     per update: 1 noted, 0 refused: the delivery was taken over or ended
--
-- mark   v          waits for a thread or a process
--        s          has started after such a wait
--        p          has reported the progress given

local call = redis.call
local prefix = KEYS[1]
local count = tonumber(ARGV[1])
local FIRST, STRIDE = 2, 4

-- include now
-- include enqueued
-- include append

local LARGE, MOST = 512, 8192 -- bytes: larger progress, and more of it, is in the records alone

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
local accepted, reports, bytes = {}, {}, 0
for index = 1, count do
  local at = FIRST + (index - 1) * STRIDE
  local key, mark = prefix .. 'j:' .. ARGV[at], ARGV[at + 2]
  local record = call('HMGET', key, 's', 'i', 'n')
  if record[1] == 'r' and record[2] == ARGV[at + 1] then
    accepted[index] = '1'
    if mark == 'v' then
      call('HSET', key, 'm', 'v')
    elseif mark == 's' then
      call('HDEL', key, 'm')
      call('HSET', key, 'b', now_ms - enqueued(record[3], record[2]))
    else
      local job_id, progress = ARGV[at], ARGV[at + 3]
      call('HSET', key, 'm', 'p', 'p', progress)
      local is_large = #progress > LARGE or bytes > MOST
      local report = is_large and job_id or job_id .. ' ' .. progress
      reports[#reports + 1], reports[#reports + 2], bytes = 'p', report, bytes + #report
    end
  else
    accepted[index] = '0'
  end
end
if bytes > 0 then append_event(bytes, unpack(reports)) end
return table.concat(accepted)
