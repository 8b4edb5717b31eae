-- Put the delayed jobs that are due into their lanes, and end those that have expired.
local PROMOTED_PER_CALL = 200

local due = call('ZRANGEBYSCORE', prefix .. 'd', '-inf', now_ms, 'LIMIT', 0, PROMOTED_PER_CALL)
if #due > 0 then
  call('ZREM', prefix .. 'd', unpack(due))
  local arrivals, expired = {}, {}
  for _, job_id in ipairs(due) do
    local record = call('HMGET', prefix .. 'j:' .. job_id, 's', 'q', 'x', 'w', 'n', 'k')
    if record[1] == 'd' then
      local body = prefix .. 'y:' .. job_id
      if record[3] and tonumber(record[3]) <= now_ms then
        call('DEL', body, prefix .. 'v:' .. job_id) -- also the error of an earlier try
        finish(job_id, 'x', 'expired', keep_ms, record[4], record[5])
        expired[queue_of(record[2] or COMMON_LANE)] = true
      else
        -- A payload that is gone (an evicted key) is no reason to stop: the job fails when it runs.
        local lane = place_of(record[2], record[6])
        ready(job_id, lane, call('GET', body) or '')
        call('DEL', body)
        local queue = queue_of(lane)
        arrivals[queue] = (arrivals[queue] or 0) + 1
      end
    end
  end
  for queue, jobs in pairs(arrivals) do ring(queue, jobs) end
  for queue in pairs(expired) do silence(queue) end
end
