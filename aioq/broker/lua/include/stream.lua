-- Remove a stream that is only a key: no entries, and no consumer that could have read one.
local function remove_if_empty(lane)
  local stream = prefix .. 's:' .. lane
  if call('XLEN', stream) > 0 then return end
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, 'w')
  if not consumers.err and #consumers > 0 then return end
  call('DEL', stream)
  call('SREM', prefix .. 'ss', lane)
  call('SREM', prefix .. 'l', lane)
  local queue = queue_of(lane)
  for _, other in ipairs(call('SMEMBERS', prefix .. 'l')) do
    if queue_of(other) == queue then return end
  end
  call('DEL', prefix .. 'b:' .. queue) -- tokens that would wake nobody for anything
end
