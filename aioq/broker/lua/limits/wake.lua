-- Let the gates be looked at that sleep because of a limit, which has changed.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   limit      text     b:<name> or c:<name>
--        most       int      at most this many gates
-- REPLY  woken      int      as many: call again

local call = redis.call
local prefix = KEYS[1]
local limit, most = ARGV[1], tonumber(ARGV[2])

call('DEL', prefix .. '~') -- a write that a full server allows, so that the rest passes

-- include now
-- include ring
-- include lane
-- include park

local gates = call('SRANDMEMBER', prefix .. 'lg:' .. limit, most)
for _, gate in ipairs(gates) do
  if call('EXISTS', prefix .. 'hl:' .. gate) == 1 then
    call('ZREM', prefix .. 'd', gate)
    for word in limits_of(gate) do call('ZREM', prefix .. 'sw:' .. word, gate) end
    open_gate(gate)
  else
    shut_gate(gate)
  end
end
ring_all()
return #gates
