-- How many slots are free; nil: nothing limits them.
local function free_slots(word)
  local _, _, kind, name = string.find(word, '^(%a):([^:]*)')
  local capacity = kind == 'o' and 1 or tonumber(limit_of(kind, name))
  return capacity and capacity - call('SCARD', prefix .. 'sl:' .. word)
end

-- A gate that was woken, maybe for a slot, and takes none now: the next in line may have it.
local function yield(gate)
  for word in limits_of(gate) do
    local free = is_slot(word) and free_slots(word)
    if free and free > 0 then wake(word, 1) end
  end
end
