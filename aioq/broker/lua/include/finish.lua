-- End a job: its last state, its value, its expiry, and word to whoever waits.  What only a
-- living job needs leaves the record, because a finished one may be kept for long.
--
-- A record outlives every resend of the call that made it (G5), so it is kept 120 s at least.
-- A value of up to 64 bytes stays in the record, which stays a listpack.
local function finish(job_id, state, value, keep_ms, enqueued_ms, waiters)
  local record = prefix .. 'j:' .. job_id
  local record_ms = math.max(keep_ms, 120000)
  local after_ms = now_ms - enqueued_ms
  redis.call('HDEL', record, 'i', 'm', 'w') -- first: a listpack that has shrunk is allocated smaller
  if #value <= 64 and keep_ms == record_ms then
    redis.call('HSET', record, 's', state, 'f', after_ms, 'v', value)
  else
    redis.call('HSET', record, 's', state, 'f', after_ms)
    if keep_ms > 0 then
      redis.call('SET', prefix .. 'v:' .. job_id, value, 'PX', keep_ms)
    end
  end
  redis.call('PEXPIRE', record, record_ms)
  if waiters then
    -- A large value is not pushed: the waiter fetches it.
    local news = #value <= 8192 and state .. string.char(#job_id) .. job_id .. value
      or '?' .. string.char(#job_id) .. job_id
    for client in string.gmatch(waiters, '%S+') do
      redis.call('PUBLISH', prefix .. 'r:' .. client, news)
    end
  end
end
