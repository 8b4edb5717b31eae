-- Which gate has the next free slot: by priority, then those that had none the last time, then by
-- time.  Needs `now_us`.
--
-- Each level counts as ten seconds, so that low priorities wait long behind many of a high one, and
-- not for ever.  Suspects come first, as they do in a fetch.
local LEVEL_US = 10000000
local ENOUGH = 20 -- ready gates of a lane that are looked at
local waits = 0 -- gates that were put to sleep here: those of one moment keep their order

local function level_of(lane)
  return tonumber(string.sub(lane, -1)) or 9
end

local function wait_for_slot(word, gate, was_served)
  waits = waits + 1
  local place = now_us + (9 - level_of(lane_of(gate))) * LEVEL_US + waits
  if not was_served then place = place - LEVEL_US / 2 end
  call('ZADD', prefix .. 'sw:' .. word, 'NX', string.format('%.0f', place), gate)
end

-- Whether a worker of another lane, of no lower priority, is about to come for such a slot.
local function is_wanted_elsewhere(word, own_lane)
  for _, lane in ipairs(call('SMEMBERS', prefix .. 'l')) do
    local is_rival = lane ~= own_lane and level_of(lane) >= level_of(own_lane)
    local gates = is_rival and call('ZRANGE', prefix .. 'hr:' .. lane, 0, ENOUGH - 1) or {}
    for _, gate in ipairs(gates) do
      if string.find(gate .. ' ', ' ' .. word .. ' ', 1, true) then
        local queue = queue_of(lane)
        local is_paused = call('SISMEMBER', prefix .. 'qp', queue) == 1
        if not is_paused and call('EXISTS', prefix .. 'sv:' .. queue) == 1 then return true end
        break
      end
    end
  end
  return false
end

-- The limits of a gate, each read once.  Of several free slots one is left for another lane whose
-- gate was woken too: its worker is slower by the way of the doorbell, and would never have any.
local function read_gate(gate)
  local buckets, slots = {}, {}
  for word in limits_of(gate) do
    if string.byte(word) == 98 then
      buckets[word] = read_bucket(string.sub(word, 3))
    else
      local free = free_slots(word)
      if free and free > 1 and is_wanted_elsewhere(word, lane_of(gate)) then free = free - 1 end
      slots[word] = free
    end
  end
  return buckets, slots
end
