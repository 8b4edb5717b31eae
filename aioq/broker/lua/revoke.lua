-- End jobs on request: what waits ends now, what runs is marked and its worker told.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   at_once    0 or 1   1: what runs ends now too, whatever its task does
--        keep_ms    int      how long a revoked job is kept, 120 s at least
--        job_ids    1 each
-- REPLY  accepted   text     per job: 1 it ends as REVOKED; 0 nobody knows it, or it has ended; 3 and 2
--                            the same of one with more jobs in gm:<job>, which are to end too
--
-- The mark is in the record, so it survives a worker that dies or hears nothing: whatever becomes
-- of the delivery, the job ends as REVOKED.  An unknown or finished job is not touched.

local call = redis.call
local prefix = KEYS[1]
local at_once, keep_ms = ARGV[1] == '1', math.max(tonumber(ARGV[2]), 120000)
local FIRST_JOB = 3
local MISSED_MS = 600000

-- include now
-- include lane
-- include record
-- include event
-- include finish
-- include enqueued
-- include revoked
-- include ring
-- include park
-- include slots
-- include bucket
-- include yield
-- include silence
-- include stream
-- include withdraw
-- include follow

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

local function tell(job_id, record)
  local worker = call('HGET', prefix .. 'j:' .. job_id, 'o')
  if not worker then return end
  call('PUBLISH', prefix .. 'k:' .. worker, record[TOKEN] .. ' ' .. job_id)
  local missed = prefix .. 'cx:' .. worker -- read by every beat, should the push be lost
  call('SADD', missed, record[TOKEN] .. ' ' .. job_id)
  call('PEXPIRE', missed, MISSED_MS)
end

local accepted = {}
local jobs, asked = { unpack(ARGV, FIRST_JOB) }, #ARGV - FIRST_JOB + 1
local cause = {} -- for whose sake a child ends: the index of one that was asked for
for index, job_id in ipairs(jobs) do -- children come behind their parents
  local record = read_record(job_id)
  local state = record[STATE]
  local is_alive = state and not has_ended(state)
  local flag = is_alive and 1 or 0
  if call('EXISTS', prefix .. 'gm:' .. job_id) == 1 then flag = flag + 2 end
  if index <= asked then accepted[index] = flag end
  if is_alive and record[WAITERS] and string.find(record[WAITERS], '%', 1, true) then
    -- include children
    local root, first = cause[index] or index, #jobs + 1
    if add_children(job_id, jobs, jobs[root]) then accepted[root] = accepted[root] % 2 + 2 end
    for child = first, #jobs do cause[child] = root end
  end
  if is_alive and state == 'r' and not at_once then
    if not record[REVOKE] then call('HSET', prefix .. 'j:' .. job_id, 'c', keep_ms) end
    tell(job_id, record)
  elseif is_alive then
    withdraw(job_id, record)
    if state == 'w' then
      call('UNLINK', prefix .. 'y:' .. job_id, prefix .. 'g:' .. job_id)
    end
    revoked(job_id, record, keep_ms)
    if state == 'r' then tell(job_id, record) end
  end
end
follow()
ring_all()
write_events()
return table.concat(accepted)
