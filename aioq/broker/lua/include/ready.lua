-- Put a job into its lane: a new entry, and so a new fencing token.
local function ready(job_id, lane, payload)
  local entry_id = call('XADD', prefix .. 's:' .. lane, '*', 'j', job_id, 'p', payload)
  call('SADD', prefix .. 'l', lane)
  call('HSET', prefix .. 'j:' .. job_id, 's', 'q', 'i', entry_id)
end
