-- Put a job into the delayed set; return true when it is the new earliest.
local function delay(job_id, due_ms, payload)
  local head = call('ZRANGE', prefix .. 'd', 0, 0, 'WITHSCORES')
  call('SET', prefix .. 'y:' .. job_id, payload)
  call('ZADD', prefix .. 'd', due_ms, job_id)
  return not head[2] or due_ms < tonumber(head[2])
end
