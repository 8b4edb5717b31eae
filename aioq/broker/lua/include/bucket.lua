-- Token buckets: exact integers below 2^53, by the server's clock.  Needs `now`.
--
-- A token is `per_us` units, every microsecond adds `rate` of them, and `burst` tokens are all that
-- fit; so no rounding ever gives or takes one.  What is stored is the level, when it was right, and
-- its `per_us`, because the definition may change meanwhile.  Nothing stored: the bucket is full.
--
-- A job at a gate and whoever waits in the bucket's line (`app.limiter`) take turns: the one whose
-- side was served last leaves the other's cost untouched.  So a job asks job_wait_us, for all of
-- its buckets, and then it either takes of each (spend, write_bucket) or lets each know (claim_for_job).
local now_us = time[1] * 1000000 + time[2]
local FULL_FOR_MS = 10000 -- a full bucket is kept so long: some turn, or a changed rate, may need it
local CLAIM_US = 1000000 -- a gate that comes no more holds the line up so long
local definitions = {}

-- The numbers of a limit; what was set at run time wins over what the code declares.  Nil: there
-- is no such limit.
local function limit_of(kind, name)
  local field = kind .. ':' .. name
  if definitions[field] == nil then
    local numbers = call('HGET', prefix .. 'lr', field)
    local declared = not numbers and call('HGET', prefix .. 'lc', field)
    definitions[field] = numbers or declared and string.match(declared, '^%S+ %S+ (.*)$') or false
  end
  return definitions[field] or nil
end

-- Read the bucket `<name>:<key>`; nil: nothing limits it.  `default`: its numbers, where the
-- server knows none.
local function read_bucket(instance, default)
  local numbers = limit_of('b', string.match(instance, '^[^:]*')) or default
  if not numbers then return nil end
  local rate, per_us, burst = string.match(numbers, '^(%d+) (%d+) (%d+)$')
  local bucket = { instance = instance, rate = tonumber(rate), per_us = tonumber(per_us) }
  bucket.burst, bucket.last, bucket.claim, bucket.claim_us = tonumber(burst), '-', 0, 0
  bucket.capacity = bucket.burst * bucket.per_us
  bucket.level = bucket.capacity
  local stored = call('GET', prefix .. 'tb:' .. instance)
  if not stored then return bucket end
  local word = string.gmatch(stored, '%S+')
  local level, then_us, then_per_us = tonumber(word()), tonumber(word()), tonumber(word())
  bucket.last, bucket.claim, bucket.claim_us = word(), tonumber(word()), tonumber(word())
  if then_per_us ~= bucket.per_us then level = math.floor(level / then_per_us * bucket.per_us) end
  -- A clock that was put back gives nothing, and what comes is counted from where it stands now.
  local gain = math.max(now_us - then_us, 0) * bucket.rate
  -- The product may be too large to be exact; then it is larger than all that fits.
  bucket.level = math.min(level + math.min(gain, bucket.capacity), bucket.capacity)
  return bucket
end

-- What a start costs, in tokens; a limit that was lowered under it must not hold it up for ever.
local function price(bucket, cost)
  return math.min(cost, bucket.burst)
end

-- Microseconds until so many tokens have come; 0: they are there.  The quotient of two integers
-- below 2^53 is never rounded to a whole number that it is not, so its ceiling is exact.
local function wait_us(bucket, tokens)
  return math.max(math.ceil((tokens * bucket.per_us - bucket.level) / bucket.rate), 0)
end

local function write_bucket(bucket)
  local full_ms = math.ceil((bucket.capacity - bucket.level) / bucket.rate / 1000)
  local stored = string.format('%.0f %.0f %.0f %s %.0f %.0f', bucket.level, now_us, bucket.per_us,
    bucket.last, bucket.claim, bucket.claim_us)
  local key = prefix .. 'tb:' .. bucket.instance
  call('SET', key, stored, 'PX', string.format('%.0f', full_ms + FULL_FOR_MS))
end

-- Take what must be there, for a side: j a job, t a ticket of the line.
local function spend(bucket, cost, side)
  bucket.level = math.max(bucket.level - price(bucket, cost) * bucket.per_us, 0)
  bucket.last = side
  if side == 'j' then bucket.claim = 0 end
end

-- The first ticket of a line whose client is alive, as it stands there: `<client> <number> <cost>`.
local function first_ticket(bucket)
  local line = prefix .. 'aw:' .. bucket.instance
  for _ = 1, 20 do
    local ticket = call('ZRANGE', line, 0, 0)[1]
    if not ticket then return nil end
    local client = string.match(ticket, '^%S+')
    if call('EXISTS', prefix .. 'ac:' .. client) == 1 then return ticket end
    call('ZREM', line, ticket)
  end
end

local function cost_of(ticket)
  return tonumber(string.match(ticket, '%d+$'))
end

-- Microseconds until a job may take; 0: now.
local function job_wait_us(bucket, cost)
  local tokens = price(bucket, cost)
  local ticket = bucket.last == 'j' and first_ticket(bucket)
  return wait_us(bucket, ticket and tokens + price(bucket, cost_of(ticket)) or tokens)
end

-- A job that must wait lets the line know of itself, where there is one; but only where this is the
-- bucket that stops it, since it comes for no token of the others before.
local function claim_for_job(bucket, cost, wait)
  if job_wait_us(bucket, cost) < wait then return end
  if bucket.last ~= 't' and call('EXISTS', prefix .. 'aw:' .. bucket.instance) == 0 then return end
  bucket.claim, bucket.claim_us = price(bucket, cost), now_us + wait
  write_bucket(bucket)
end
