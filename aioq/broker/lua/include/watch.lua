-- Note that somebody watches, and tell whether nobody did for half a lease.  Then silence proves
-- nothing, for the server itself may have been away: every lease gets its time again, and nobody
-- is reaped.  A lease that ends at 0 is being reaped already.
local function watch(lease_ms)
  local last_ms = tonumber(call('GET', prefix .. 't') or now_ms)
  call('SET', prefix .. 't', now_ms)
  if now_ms - last_ms <= lease_ms / 2 then return false end
  for _, worker in ipairs(call('ZRANGEBYSCORE', prefix .. 'lw', '(0', now_ms + lease_ms)) do
    call('ZADD', prefix .. 'lw', 'XX', now_ms + lease_ms, worker)
  end
  return true
end

local function has_lease(worker)
  local ends_ms = call('ZSCORE', prefix .. 'lw', worker)
  return ends_ms and tonumber(ends_ms) > 0
end
