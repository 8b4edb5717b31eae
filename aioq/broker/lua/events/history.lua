-- Find the steps of one job in the stream of events.
--
-- KEYS   prefix     anchor   every key of the partition starts with it
-- ARGV   job_id     text
--        after      text     the entry behind which to look
--        most       int      entries looked at per call, so that it stays short
-- REPLY  after      text     for the next call: the last entry that was looked at
--        rest       int      1: there may be more
--        steps      3 each   entry_id, letter, progress: nil where there is none

local call = redis.call
local prefix = KEYS[1]
local job_id, after, most = ARGV[1], ARGV[2], tonumber(ARGV[3])

local word = ' ' .. job_id .. ' '
local steps, size = {}, 0

local function add(entry_id, letter, progress)
  steps[size + 1], steps[size + 2], steps[size + 3] = entry_id, letter, progress
  size = size + 3
end

local function find_steps(entry_id, text)
  text = text .. ' '
  if not string.find(text, word, 1, true) then return end
  for letter, jobs in string.gmatch(text, '\n(%a)([^\n]*)') do
    if string.find(jobs, word, 1, true) then add(entry_id, letter, false) end
  end
end

local entries = call('XRANGE', prefix .. 'ev', '(' .. after, '+', 'COUNT', most)
for _, entry in ipairs(entries) do
  local entry_id, fields = entry[1], entry[2]
  for n = 1, #fields, 2 do
    local field, value = fields[n], fields[n + 1]
    if field == 'e' then
      find_steps(entry_id, value)
    elseif field == 'p' and value == job_id then
      add(entry_id, 'p', false)
    elseif field == 'p' and string.sub(value, 1, #job_id + 1) == job_id .. ' ' then
      add(entry_id, 'p', string.sub(value, #job_id + 2))
    end
  end
end
if #entries > 0 then after = entries[#entries][1] end
return { after, #entries == most and 1 or 0, steps }
