-- When a job was enqueued: noted in its record (n), else the time its first entry id begins with.
local function enqueued(noted_ms, entry_id)
  return noted_ms or string.sub(entry_id, 1, string.find(entry_id, '-', 1, true) - 1)
end
