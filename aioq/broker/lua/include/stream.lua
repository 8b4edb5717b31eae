-- Remove a stream that is only a key: no entries, and no consumer that could have read one.
local function remove_if_empty(lane)
  local stream = prefix .. 's:' .. lane
  if call('XLEN', stream) > 0 then return end
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, 'w')
  if not consumers.err and #consumers > 0 then return end
  call('DEL', stream)
  call('SREM', prefix .. 'ss', lane)
  if call('EXISTS', prefix .. 'hr:' .. lane) == 0 then call('SREM', prefix .. 'l', lane) end
  silence(queue_of(lane))
end
