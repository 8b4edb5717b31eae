-- Let an idle worker of a queue know of a new earliest due time there: it asks what is due next,
-- and sets its timer.  The earliest of all queues is not enough: who serves that one may be full by
-- then, and looks at nothing.  Also where the queue is paused, for others count on its timer.
local function set_alarm(queue, due_ms)
  local key = prefix .. 'da:' .. queue
  local known_ms = tonumber(call('GET', key) or 0)
  if known_ms > now_ms and known_ms <= due_ms then return end
  call('SET', key, due_ms, 'PX', math.max(due_ms - now_ms, 1))
  alarms[queue] = 1
  ring_later(queue, 0)
end

-- Put a job into the delayed set.
local function delay(job_id, due_ms, payload, queue)
  call('SET', prefix .. 'y:' .. job_id, payload)
  call('ZADD', prefix .. 'd', due_ms, job_id)
  set_alarm(queue, due_ms)
end
