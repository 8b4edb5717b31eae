-- Put a job into its lane: a new entry, and so a new fencing token.
local function ready(job_id, lane, payload)
  local entry_id = redis.call('XADD', prefix .. 's:' .. lane, '*', 'j', job_id, 'p', payload)
  redis.call('SADD', prefix .. 'l', lane)
  redis.call('HSET', prefix .. 'j:' .. job_id, 's', 'q', 'i', entry_id)
end
