-- Throw dead letters away.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   nonce      text     of this call: sent again after a lost reply, it says the same
--        job_ids    1 each
-- REPLY  discarded  text     per job: 1 it is gone; 0 it was no dead letter
--
-- The record stays for a while, as that of every ended job: a resend of the call that made the
-- job must still find it (G5).

local call = redis.call
local prefix = KEYS[1]
local nonce = ARGV[1]
local FIRST_JOB = 2
local KEEP_MS = 120000

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes
local discarded = {}

-- Discard one letter; return whether this call did it.
local function discard(job_id)
  local key, body = prefix .. 'j:' .. job_id, prefix .. 'y:' .. job_id
  local record = call('HMGET', key, 's', 'l')
  if record[1] and record[2] == nonce then return true end
  if record[1] and record[1] ~= 'f' then return false end
  local was_listed = call('ZREM', prefix .. 'x', job_id) == 1
  local had_payload = call('DEL', body) == 1
  call('UNLINK', prefix .. 'v:' .. job_id, prefix .. 'si:' .. job_id)
  call('UNLINK', prefix .. 'dm:' .. job_id, prefix .. 'dr:' .. job_id)
  if not record[1] or not (was_listed or had_payload) then return false end
  call('HSET', key, 'l', nonce)
  call('PEXPIRE', key, KEEP_MS)
  return true
end

for index = FIRST_JOB, #ARGV do
  discarded[#discarded + 1] = discard(ARGV[index]) and '1' or '0'
end
return table.concat(discarded)
