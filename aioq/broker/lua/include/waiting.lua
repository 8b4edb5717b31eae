-- How many jobs of a lane a fetch could bring: entries that nobody has got, and one for each gate
-- that may let some through.
local function waiting(lane)
  local stream, ready_gates = prefix .. 's:' .. lane, prefix .. 'hr:' .. lane
  local entries, gates = call('XLEN', stream), call('ZCARD', ready_gates)
  if gates > 0 and call('ZSCORE', ready_gates, '') then gates = gates - 1 end -- '' is none
  if entries == 0 then return gates end
  local pending = redis.pcall('XPENDING', stream, 'w') -- an error: no group, nothing delivered yet
  return entries - (pending.err and 0 or pending[1]) + gates
end
