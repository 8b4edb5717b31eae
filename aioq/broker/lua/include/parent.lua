-- Copy the end of a child into the memo of its parent, and wake that if it waits for no other.
-- Needs what `awaken` needs.
local function tell_parent(parent, name, state, value)
  -- include awaken
  -- include child_end
  local memo, field = prefix .. 'dm:' .. parent, 'child ' .. name
  local entry = call('HGET', memo, field)
  if not entry then return end -- the parent has ended
  local kind, which = string.match(entry, '^(%a)(%x+ %S+)')
  if kind == 'r' or kind == 'R' then which = string.match(entry, '^%a%a(%x+ %S+)') end -- it was replayed
  note_end(parent, name, state, which, value)
  if kind == 'P' and call('HINCRBY', memo, ' w', -1) <= 0 then awaken(parent) end
end
