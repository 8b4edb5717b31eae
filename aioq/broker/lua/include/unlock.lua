-- Give a unique key back, unless it has gone to another job since: it had ended by time, or a call
-- has moved it on.
local function release_unique(job_id, key)
  local lock = prefix .. 'un:' .. key
  if call('GET', lock) == job_id then call('DEL', lock) end
end
