-- A free slot is offered to one gate, whose worker may be gone, or full, and not come.  So a fetch that
-- found nothing looks at a parked job of each of its lanes, and opens its gate where slots are free.
local function is_overlooked(gate)
  local waits = false
  for word in limits_of(gate) do
    if is_slot(word) then
      if (free_slots(word) or 1) <= 0 then return false end
      waits = waits or call('ZSCORE', prefix .. 'sw:' .. word, gate)
    end
  end
  return waits
end

local function look_again(lane)
  local parked = prefix .. 'hp:' .. lane
  local jobs = call('ZCARD', parked)
  if jobs == 0 then return end
  local nth = now_us % jobs -- another each time: the first may wait for something else
  local job_id = call('ZRANGE', parked, nth, nth)[1]
  local gate = gate_of(lane, call('HGET', prefix .. 'j:' .. job_id, 'h') or '')
  if not is_overlooked(gate) then return end
  for word in limits_of(gate) do call('ZREM', prefix .. 'sw:' .. word, gate) end
  open_gate(gate)
end
