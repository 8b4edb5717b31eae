-- Whether gates wait for a slot though nobody holds one, and no other that could have it is about to
-- be looked at, which would wake them.
local ENOUGH = 500 -- ready gates that are looked at; where there are more, nothing is said

local function is_in_hand(slot)
  local seen = 0
  for _, lane in ipairs(call('SMEMBERS', prefix .. 'l')) do
    local is_paused = call('SISMEMBER', prefix .. 'qp', queue_of(lane)) == 1
    for _, gate in ipairs(is_paused and {} or call('ZRANGE', prefix .. 'hr:' .. lane, 0, ENOUGH)) do
      seen = seen + 1
      for word in gate == '' and pairs({}) or limits_of(gate) do
        if word == slot then return true end
      end
    end
    if seen > ENOUGH then return true end -- nobody knows
  end
  return false
end

local function check_idle(slot)
  if call('EXISTS', prefix .. 'sw:' .. slot) == 0 or call('EXISTS', prefix .. 'sl:' .. slot) == 1 then
    return
  end
  if is_in_hand(slot) then return end
  found('slot-idle', slot, '', function()
    wake(slot, 1)
    return 'opened'
  end)
end
