-- Note that somebody watches, and tell whether nobody did for half a lease.  Then silence proves
-- nothing, for the server itself may have been away: every lease gets its time again, and nobody
-- is reaped.  So it is when the clock was put back, as by a failover; the leases follow it.  A lease
-- that ends at 0 is being reaped already.
local function watch(lease_ms)
  local last_ms = tonumber(call('GET', prefix .. 't') or now_ms)
  call('SET', prefix .. 't', now_ms)
  local away_ms = now_ms - last_ms
  if away_ms >= 0 and away_ms <= lease_ms / 2 then return false end
  local leases = call('ZRANGEBYSCORE', prefix .. 'lw', '(0', '+inf', 'WITHSCORES')
  for n = 1, #leases, 2 do
    local ends_ms = tonumber(leases[n + 1]) + math.min(away_ms, 0)
    call('ZADD', prefix .. 'lw', 'XX', math.max(ends_ms, now_ms + lease_ms), leases[n])
  end
  return true
end

local function has_lease(worker)
  local ends_ms = call('ZSCORE', prefix .. 'lw', worker)
  return ends_ms and tonumber(ends_ms) > 0
end
