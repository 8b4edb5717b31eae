-- Add an entry whose id is none that the job ever had: in the millisecond of its last delivery the
-- stream may have been removed, and begin its ids anew; the fence would let a late word pass.
local function add_entry_after(token, stream, job_id, payload)
  local last_ms, last_n = string.match(token or '', '^(%d+)-(%d+)$')
  while true do
    local entry_id = call('XADD', stream, '*', 'j', job_id, 'p', payload)
    if not last_ms then return entry_id end
    local ms, n = string.match(entry_id, '^(%d+)-(%d+)$')
    if ms ~= last_ms or tonumber(n) > tonumber(last_n) then return entry_id end
    call('XDEL', stream, entry_id)
  end
end
