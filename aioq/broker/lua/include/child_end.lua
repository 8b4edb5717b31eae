-- Note the end of a child in the memo of its parent.  A large value has a place of its own, so that
-- whoever reads the memo need not read all values.
local SMALL = 1024

local function note_end(parent, name, state, which, value)
  local entry = 'r' .. state .. which .. ' ' .. value
  if #value > SMALL then
    entry = 'R' .. state .. which
    call('HSET', prefix .. 'dr:' .. parent, name, value)
  end
  call('HSET', prefix .. 'dm:' .. parent, 'child ' .. name, entry)
end
