-- Wait in the line of a bucket, and take tokens when one's turn has come.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   limit      text     <name>:<key> of the bucket
--        numbers    text     what it is, where the server knows nothing of it
--        client     text     whose tickets these are
--        nonce      int      of this call; sent again, it grants nothing new
--        waits      0 or 1   0: a ticket that is not served now is thrown away
--        tickets    2 each   number, cost
-- REPLY  known      0 or 1   0: the client was away, and its tickets may be gone: bring them again
--        wait_us    int      until the first ticket left has its turn, at the soonest
--        granted    list     numbers of the tickets that were served
--
-- A ticket joins the line, or with a minus before its number leaves it.  The answer is kept for a
-- while, so that tokens taken in a reply that was lost are not taken again.

local call = redis.call
local prefix = KEYS[1]
local limit, numbers, client, nonce = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local waits = ARGV[5] == '1'
local FIRST, STRIDE = 6, 2
local ALIVE_MS = 2000 -- who is not heard of for so long holds nobody up any more
local LINE_MS = 5000
local MOST = 250

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

-- include now
-- include bucket

local line, life = prefix .. 'aw:' .. limit, prefix .. 'ac:' .. client
local answer = prefix .. 'ag:' .. client
local known = call('EXISTS', life)
local said, before = string.match(call('GET', answer) or '', '^(%S+)(.*)$')
call('SET', life, '', 'PX', ALIVE_MS)

-- Join at the end, or leave.
local function join()
  local last = call('ZREVRANGE', line, 0, 0, 'WITHSCORES')
  local place = math.max(tonumber(last[2] or 0) + 1, now_us)
  for at = FIRST, #ARGV, STRIDE do
    local number, cost = ARGV[at], ARGV[at + 1]
    local ticket = client .. ' ' .. number .. ' ' .. cost
    if string.byte(number) == 45 then
      call('ZREM', line, client .. ' ' .. string.sub(number, 2) .. ' ' .. cost)
    else
      call('ZADD', line, 'NX', string.format('%.0f', place), ticket)
      place = place + 1
    end
  end
end

-- Serve this client's tickets as long as they are the first; a job at a gate has its turn too.
local function serve(bucket)
  local granted = {}
  while #granted < MOST do
    local ticket = first_ticket(bucket)
    local owner, number, cost = string.match(ticket or '', '^(%S+) (%d+) (%d+)$')
    if owner ~= client then break end
    local tokens = price(bucket, tonumber(cost))
    if bucket.last == 't' and now_us <= bucket.claim_us + CLAIM_US then
      tokens = tokens + bucket.claim
    end
    if wait_us(bucket, tokens) > 0 then break end
    call('ZREM', line, ticket)
    spend(bucket, tonumber(cost), 't')
    granted[#granted + 1] = number
  end
  if #granted > 0 then
    write_bucket(bucket)
    call('SET', answer, nonce .. ' ' .. table.concat(granted, ' '), 'PX', 60000)
  end
  return granted
end

-- When the first ticket of this client comes, if all before it take theirs.
local function estimate(bucket)
  local tokens = bucket.last == 't' and now_us <= bucket.claim_us + CLAIM_US and bucket.claim or 0
  for _, ticket in ipairs(call('ZRANGE', line, 0, 99)) do
    tokens = tokens + price(bucket, cost_of(ticket))
    if string.match(ticket, '^%S+') == client then return wait_us(bucket, tokens) end
  end
  return wait_us(bucket, tokens)
end

local bucket = read_bucket(limit, numbers)
local granted = {}
if said == nonce then
  for number in string.gmatch(before, '%S+') do granted[#granted + 1] = number end
  return { known, 0, granted }
end
join()
granted = serve(bucket)
if not waits then
  for at = FIRST, #ARGV, STRIDE do
    call('ZREM', line, client .. ' ' .. ARGV[at] .. ' ' .. ARGV[at + 1])
  end
end
call('PEXPIRE', line, LINE_MS)
return { known, estimate(bucket), granted }
