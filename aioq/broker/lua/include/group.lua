-- The group of a lane, as XINFO has it; false: there is none.
local groups = {}

local function group_of(lane)
  if groups[lane] == nil then
    groups[lane] = false
    local all = redis.pcall('XINFO', 'GROUPS', prefix .. 's:' .. lane)
    for _, flat in ipairs(all.err and {} or all) do
      local group = {}
      for n = 1, #flat, 2 do group[flat[n]] = flat[n + 1] end
      if group.name == 'w' then groups[lane] = group end
    end
  end
  return groups[lane]
end
