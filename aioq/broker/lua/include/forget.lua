-- Remove a schedule and all that is known of it; its jobs stay.
local function forget(name)
  call('ZREM', prefix .. 'cz', name)
  call('SREM', prefix .. 'cp', name)
  call('HDEL', prefix .. 'cl', name)
  call('DEL', prefix .. 'ch:' .. name)
  return call('HDEL', prefix .. 'cr', name) == 1
end
