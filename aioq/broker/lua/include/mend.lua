-- Repairs of one key: each is done only if repairs are wanted.
local function drop(key)
  return function()
    call('DEL', key)
    return 'removed'
  end
end

local function expire(key, ms)
  return function()
    call('PEXPIRE', key, ms)
    return 'expires'
  end
end

local function persist(key)
  return function()
    call('PERSIST', key)
    return 'persisted'
  end
end
