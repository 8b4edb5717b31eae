-- Send an event to the jobs that wait for it, and keep it for those that wait later.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   nonce      text     of this event: sent again it is the same one
--        event      text     its name
--        value      text
--        keep_ms    int      how long a job that begins to wait later finds it
--        job_id     text     only this job, for as long as it lives; '' all
--        most       int      jobs that one call tells
-- REPLY  told       int      jobs that waited for it
--        rest       int      1: there are more, call again

local call = redis.call
local prefix = KEYS[1]
local nonce, event, value, keep_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local target, most = ARGV[5], tonumber(ARGV[6])
local RESENT_MS = 120000 -- nobody sends a call again after that

-- include now
-- include lane
-- include record
-- include ring
-- include ready
-- include delay
-- include park
-- include awaken
-- include memo
-- include box

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
local waits = prefix .. 'dw:' .. event

-- Give the event to one wait of a job; return whether it still waited.
local function give(job_id, name, number)
  local memo = prefix .. 'dm:' .. job_id
  call('ZREM', waits, job_id .. ' ' .. name)
  if string.byte(call('HGET', memo, name) or '') ~= 101 then return false end -- e
  local entry = 'E' .. event .. ' ' .. value
  call('HSET', memo, name, entry)
  if number then call('HSET', memo, ' @' .. event, number) end
  awaken(job_id)
  return true
end

local function send_to_one()
  local record = read_record(target)
  if not record[STATE] or has_ended(record[STATE]) then return 0 end
  local memo = prefix .. 'dm:' .. target
  local box = read_box(call('HGET', memo, ' !' .. event))
  if find_in(box, nonce) then return 0 end
  local told = 0
  for each, name in string.gmatch(call('HGET', memo, ' e') or '', '(%S+) ([^\n]+)\n') do
    if each == event and told == 0 and give(target, name) then told = 1 end
  end
  box[#box + 1] = told == 1 and { nonce } or { nonce, value }
  if #box > KEPT then table.remove(box, 1) end
  keep_memo(target, record[WAITERS])
  call('HSET', memo, ' !' .. event, cmsgpack.pack(box))
  return told
end

-- Keep the event for those who wait later; return its number.
local function keep()
  local key = prefix .. 'de:' .. event
  local box, stays_ms = read_box(call('HGET', key, ' ')), math.max(keep_ms, RESENT_MS)
  local known = find_in(box, nonce)
  if known then return box[known][2] end
  local number = call('INCR', prefix .. 'dn')
  box[#box + 1] = { nonce, number, now_ms, now_ms + keep_ms }
  while #box > KEPT do call('HDEL', key, table.remove(box, 1)[2]) end
  call('HSET', key, ' ', cmsgpack.pack(box), number, value)
  call('PEXPIRE', key, string.format('%.0f', math.max(stays_ms, call('PTTL', key))))
  return number
end

if target ~= '' then
  local told = send_to_one()
  ring_all()
  return { told, 0 }
end
local number, told = keep(), 0
local waiting = call('ZRANGEBYSCORE', waits, '-inf', '(' .. number, 'LIMIT', 0, most)
for _, member in ipairs(waiting) do
  local job_id, name = string.match(member, '^(%S+) (.*)$')
  if give(job_id, name, number) then told = told + 1 end
end
ring_all()
return { told, #waiting == most and 1 or 0 }
