-- Read dead letters, the newest first, one page per call.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   after      text     what the call before has replied; '' begins
--        since      text     ms; those that died before are left out; '' none are
--        task       text     only those of this task; '' of any
--        queue      text     only those of this queue; '' of any
--        full       0 or 1   1: with payload and error
--        most       int      letters looked at per call, so that it stays short
-- REPLY  after      text     for the next call; '' there is no more
--        letters    9 each   job_id, died, task, lane, retries, crashes, worker, payload, error
--
-- Letters come and go while somebody reads: a page begins behind the last letter of the one before,
-- whether that is still there or not.  So none is read twice, none that stays is left out, and one
-- that dies meanwhile comes in front of all and is left to the next reader.

local call = redis.call
local prefix = KEYS[1]
local after, since, task, queue = ARGV[1], tonumber(ARGV[2]) or 0, ARGV[3], ARGV[4]
local full, most = ARGV[5] == '1', tonumber(ARGV[6])
local ENOUGH = 1048576 -- bytes of payloads and errors: a page ends behind the letter that passes it

-- include lane

-- As the server sorts what died at the same time; `<` would ask the locale.
local function is_smaller(one, other)
  for n = 1, math.min(#one, #other) do
    local here, there = string.byte(one, n), string.byte(other, n)
    if here ~= there then return here < there end
  end
  return #one < #other
end

local function rank_behind(last)
  local died, job_id = string.match(last, '^(%S+) (.*)$')
  died = tonumber(died)
  local low, high = 0, call('ZCARD', prefix .. 'x')
  while low < high do
    local middle = math.floor((low + high) / 2)
    local found = call('ZREVRANGE', prefix .. 'x', middle, middle, 'WITHSCORES')
    local score = tonumber(found[2])
    if score < died or (score == died and is_smaller(found[1], job_id)) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local start = after == '' and 0 or rank_behind(after)
local found = call('ZREVRANGE', prefix .. 'x', start, start + most - 1, 'WITHSCORES')
local letters, size, bytes = {}, 0, 0
local has_more = #found == 2 * most
after = ''
for n = 1, #found, 2 do
  local job_id, died = found[n], found[n + 1]
  if tonumber(died) < since then
    has_more = false
    break
  end
  after = died .. ' ' .. job_id
  local record = call('HMGET', prefix .. 'j:' .. job_id, 's', 't', 'q', 'e', 'k', 'o', 'i')
  local lane = record[3] or COMMON_LANE
  if
    record[1] == 'f'
    and (task == '' or record[2] == task)
    and (queue == '' or queue_of(lane) == queue)
  then
    local payload, error = false, false
    if full then
      payload = call('GET', prefix .. 'y:' .. job_id)
      error = record[7] or call('GET', prefix .. 'v:' .. job_id)
      bytes = bytes + #(payload or '') + #(error or '')
    end
    letters[size + 1], letters[size + 2], letters[size + 3] = job_id, died, record[2]
    letters[size + 4], letters[size + 5], letters[size + 6] = lane, record[4], record[5]
    letters[size + 7], letters[size + 8], letters[size + 9] = record[6], payload, error
    size = size + 9
  end
  if bytes > ENOUGH and n + 1 < #found then
    has_more = true
    break
  end
end
return { has_more and after or '', letters }
