-- Make children of a running job, which hears of their ends.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   job_id     text
--        entry_id   text     its delivery
--        most       int      children that one job may have
--        children   9 each   number, print, job_id, lane, task, due, expires, nonce, payload
-- REPLY  count      int      how many children the job has now; -1: the delivery was taken over, or has
--                            ended; -2: they would be too many, and none was made
--
-- A child that the memo knows is there already, so a call may be sent again.

local call = redis.call
local prefix = KEYS[1]
local job_id, entry_id, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local FIRST, STRIDE = 4, 9

-- include now
-- include lane
-- include record
-- include moment
-- include ring
-- include event
-- include delay
-- include park
-- include make
-- include memo
-- include child_end

local record = read_record(job_id)
if not is_current(record, entry_id) then return -1 end
local memo, unknown = prefix .. 'dm:' .. job_id, {}
for at = FIRST, #ARGV, STRIDE do
  if not call('HGET', memo, 'child ' .. ARGV[at]) then unknown[#unknown + 1] = at end
end
local count = tonumber(call('HGET', memo, ' c') or 0) + #unknown
if count > most then return -2 end

-- Note the end of a child whose id is known already, as after the loss of its parent's memo.
local function has_known_end(number, child, which)
  local key = prefix .. 'j:' .. child
  local state = call('HGET', key, 's')
  if not state or not has_ended(state) then return false end
  local value = call('HGET', key, 'i') or call('GET', prefix .. 'v:' .. child) or ''
  note_end(job_id, number, state, which, value)
  return true
end

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
if #unknown > 0 then keep_memo(job_id, record[WAITERS]) end
for _, at in ipairs(unknown) do
  local number, print, child = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local due, expires = moment(ARGV[at + 5]), moment(ARGV[at + 6])
  if not has_known_end(number, child, print .. ' ' .. child) then
    make(child, ARGV[at + 3], ARGV[at + 4], due, expires, ARGV[at + 7], ARGV[at + 8])
    local words = call('HGET', prefix .. 'j:' .. child, 'w')
    local own, entry = '^' .. job_id .. ':' .. number, 'p' .. print .. ' ' .. child
    call('HSET', prefix .. 'j:' .. child, 'w', words and words .. ' ' .. own or own)
    call('HSET', memo, 'child ' .. number, entry)
  end
end
if #unknown > 0 then call('HSET', memo, ' c', count) end
ring_made()
write_events()
return count
