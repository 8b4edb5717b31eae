-- Offer a job around that nobody here can run, and bury it once that has gone on for too long.
local function offer(job_id, record, patience_ms, error, payload)
  local key = prefix .. 'j:' .. job_id
  local since_ms = tonumber(call('HGET', key, 'g') or now_ms)
  if now_ms - since_ms >= patience_ms then
    bury(job_id, error, payload, record)
  else
    call('HSET', key, 'g', since_ms)
    -- Offered again after as long as it has been around, between 1 and 30 s.
    local pause_ms = math.min(math.max(now_ms - since_ms, 1000), 30000)
    again(job_id, record, now_ms + math.min(pause_ms, patience_ms), payload)
  end
end
