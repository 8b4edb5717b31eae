-- Check that the indexes of schedules name those there are, and that each is due or paused.
local function check_members(index, members, remove)
  for _, schedule in ipairs(members) do
    if call('HEXISTS', prefix .. 'cr', schedule) == 0 then
      found('schedule-unknown', schedule, index, function()
        remove(schedule)
        return 'removed'
      end)
    end
  end
end

local function check_rules()
  for _, schedule in ipairs(call('HKEYS', prefix .. 'cr')) do
    local due = call('ZSCORE', prefix .. 'cz', schedule)
    local is_paused = call('SISMEMBER', prefix .. 'cp', schedule) == 1
    if is_paused and due then
      found('schedule-stale', schedule, '', function()
        call('ZREM', prefix .. 'cz', schedule)
        return 'removed'
      end)
    elseif not is_paused and not due then
      -- When it would be due is known to those alone who can read its rule.
      found('schedule-lost', schedule, '', function()
        call('SADD', prefix .. 'cp', schedule)
        return 'paused'
      end)
    end
  end
end

local function check_agenda(name)
  if name == 'cr' then
    check_rules()
  elseif name == 'cz' then
    check_members('cz', call('ZRANGE', prefix .. 'cz', 0, -1), function(schedule)
      call('ZREM', prefix .. 'cz', schedule)
    end)
  elseif name == 'cp' then
    check_members('cp', call('SMEMBERS', prefix .. 'cp'), function(schedule)
      call('SREM', prefix .. 'cp', schedule)
    end)
  elseif name == 'cl' then
    check_members('cl', call('HKEYS', prefix .. 'cl'), function(schedule)
      call('HDEL', prefix .. 'cl', schedule)
    end)
  elseif string.sub(name, 1, 3) == 'ch:' and call('HEXISTS', prefix .. 'cr', string.sub(name, 4)) == 0 then
    found('schedule-unknown', string.sub(name, 4), 'ch', drop(prefix .. name))
  end
end
