-- Add an entry to the stream of events, where a worker has opened it.  A stream can be bounded by its
-- entries alone; so the larger one is, the fewer of its kind are kept: 24 MB at the very most.
local function append_event(size, ...)
  local kept = size <= 256 and 12000 or size <= 8192 and 1500 or 300
  call('XADD', prefix .. 'ev', 'NOMKSTREAM', 'MAXLEN', '~', kept, '*', ...)
end
