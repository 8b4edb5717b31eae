-- Look for an event that a running job waits for, and note that it waits.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   job_id     text
--        entry_id   text     its delivery
--        name       text     of the wait
--        event      text
--        timeout    text     milliseconds from the first call of this wait; '' for as long as it takes
-- REPLY  now_ms     int      the server's clock; -1: the delivery was taken over, or has ended
--        entry      text     as `include/memo.lua` has it: e it waits, E the event has come, T too late
--
-- The job gets the first event that it has not had, of those sent since it was enqueued.

local call = redis.call
local prefix = KEYS[1]
local job_id, entry_id, name, event, timeout = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

-- include now
-- include record
-- include enqueued
-- include moment
-- include memo
-- include box

local record = read_record(job_id)
if not is_current(record, entry_id) then return { -1, '' } end
local memo, waits = prefix .. 'dm:' .. job_id, prefix .. 'dw:' .. event
local entry = call('HGET', memo, name)
if entry and string.byte(entry) ~= 101 then return { now_ms, entry } end -- e

-- The first of the events that were kept for everybody; its number, or nil.
local function kept()
  local had = tonumber(call('HGET', memo, ' @' .. event) or 0)
  local since_ms = tonumber(enqueued(record[ENQUEUED], record[TOKEN]))
  for _, each in ipairs(read_box(call('HGET', prefix .. 'de:' .. event, ' '))) do
    local number, at_ms, until_ms = each[2], each[3], each[4]
    if number > had and at_ms >= since_ms and until_ms > now_ms then return number end
  end
end

-- The first of those that were sent to this job alone.
local function own()
  local box = read_box(call('HGET', memo, ' !' .. event))
  for n, each in ipairs(box) do
    if each[2] then
      box[n] = { each[1] }
      call('HSET', memo, ' !' .. event, cmsgpack.pack(box))
      return each[2]
    end
  end
end

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
keep_memo(job_id, record[WAITERS])
local deadline = entry and string.match(entry, '^e(%d*)')
  or timeout ~= '' and string.format('%.0f', moment('+' .. timeout)) or ''
local value, number = own(), nil
if not value then
  number = kept()
  value = number and call('HGET', prefix .. 'de:' .. event, number)
end
if value then
  entry = 'E' .. event .. ' ' .. value
  if number then call('HSET', memo, ' @' .. event, number) end
elseif deadline ~= '' and tonumber(deadline) <= now_ms then
  entry = 'T' .. event
else
  entry = 'e' .. deadline .. ' ' .. event
  local line = event .. ' ' .. name .. '\n'
  local lines = call('HGET', memo, ' e') or ''
  if not string.find('\n' .. lines, '\n' .. line, 1, true) then
    call('HSET', memo, ' e', lines .. line)
  end
  call('ZADD', waits, 'NX', call('GET', prefix .. 'dn') or 0, job_id .. ' ' .. name)
end
call('HSET', memo, name, entry)
if string.byte(entry) ~= 101 then call('ZREM', waits, job_id .. ' ' .. name) end
return { now_ms, entry }
