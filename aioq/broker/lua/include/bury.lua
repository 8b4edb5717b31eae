-- Make a dead letter of a job; its payload stays, so that it can be replayed.
local function bury(job_id, value, payload, record)
  finish(job_id, 'f', value, dead_ms, record[5], enqueued(record[4], record[2]), record[7])
  call('SET', prefix .. 'y:' .. job_id, payload, 'PX', dead_ms)
  call('ZADD', prefix .. 'x', now_ms, job_id)
end

-- Keep dead letters for their time, and no more of them than their number; the oldest go.
local function trim()
  call('ZREMRANGEBYSCORE', prefix .. 'x', '-inf', now_ms - dead_ms)
  local surplus = call('ZCARD', prefix .. 'x') - dead_max
  if surplus > 0 then
    local oldest = call('ZPOPMIN', prefix .. 'x', math.min(surplus, 500))
    for n = 1, #oldest, 2 do
      local job_id = oldest[n]
      call('DEL', prefix .. 'y:' .. job_id, prefix .. 'v:' .. job_id)
      call('PEXPIRE', prefix .. 'j:' .. job_id, 120000) -- a resend must still find it (G5)
    end
  end
end
