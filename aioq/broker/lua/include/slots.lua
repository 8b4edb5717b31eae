-- Slots of concurrency limits: who holds one is in a set, so that each is given back once, by
-- whichever script ends the delivery.

-- Let gates that wait for a slot be looked at: one for each that is free.  Those of paused queues
-- are let go too, but take none.
local function wake(word, free)
  local waiting = prefix .. 'sw:' .. word
  for _ = 1, 64 do
    local gate = free > 0 and call('ZPOPMIN', waiting)[1]
    if not gate then return end
    open_gate(gate)
    if call('SISMEMBER', prefix .. 'qp', queue_of(lane_of(gate))) == 0 then free = free - 1 end
  end
end

local function is_slot(word)
  local kind = string.byte(word)
  return kind == 99 or kind == 111 -- c: a concurrency limit; o: the overlap of a schedule
end

-- Give back what a delivery holds; nothing happens the second time.
local function release(job_id, holds)
  if not holds then return end
  for word in string.gmatch(holds, '%S+') do
    if is_slot(word) and call('SREM', prefix .. 'sl:' .. word, job_id) == 1 then wake(word, 1) end
  end
end
