-- Let a suspended job run again, as a new delivery; nothing happens to any other job.
local function awaken(job_id)
  local key, body = prefix .. 'j:' .. job_id, prefix .. 'y:' .. job_id
  local record = call('HMGET', key, 's', 'i', 'q', 'k', 'h')
  if record[1] ~= 's' then return false end
  call('ZREM', prefix .. 'd', job_id)
  local lane, payload = wait_of(record[3], record[4]), call('GET', body) or ''
  local last_ms = tonumber(string.match(record[2] or '', '^%d+') or now_ms)
  if last_ms >= now_ms then
    -- Its stream may have been removed in the millisecond of its last delivery; one that is made anew
    -- could give the same id again, and the fence would let a late word about that one pass.
    call('HSET', key, 's', 'd', 'd', now_ms + 1)
    delay(job_id, now_ms + 1, payload, queue_of(lane))
  elseif record[5] then
    call('HSET', key, 's', 'p')
    park(job_id, lane, record[5], payload)
  else
    ready(job_id, lane, payload)
    call('DEL', body)
    ring_later(queue_of(lane), 1)
  end
  return true
end
