-- Make a dead letter of a job; its payload stays, so that it can be replayed.
local has_buried = false

local function bury(job_id, value, payload, record)
  local enqueued_ms = enqueued(record[ENQUEUED], record[TOKEN])
  finish(job_id, 'f', value, dead_ms, record[WAITERS], enqueued_ms, record[BEGUN])
  call('SET', prefix .. 'y:' .. job_id, payload, 'PX', dead_ms)
  call('ZADD', prefix .. 'x', now_ms, job_id)
  has_buried = true
end

-- Keep dead letters for their time, and no more of them than their number; the oldest go.
local function trim()
  if not has_buried then return end
  call('ZREMRANGEBYSCORE', prefix .. 'x', '-inf', now_ms - dead_ms)
  local surplus = call('ZCARD', prefix .. 'x') - dead_max
  if surplus > 0 then
    local oldest = call('ZPOPMIN', prefix .. 'x', math.min(surplus, 500))
    for n = 1, #oldest, 2 do
      local job_id = oldest[n]
      call('UNLINK', prefix .. 'y:' .. job_id, prefix .. 'v:' .. job_id, prefix .. 'si:' .. job_id)
      call('UNLINK', prefix .. 'dm:' .. job_id, prefix .. 'dr:' .. job_id)
      call('PEXPIRE', prefix .. 'j:' .. job_id, 120000) -- a resend must still find it (G5)
    end
  end
end
