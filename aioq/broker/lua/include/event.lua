-- Steps in the lives of jobs, for whoever reads the stream of events: one entry for all that a call
-- brings, with a line for each run of the same step, `\n<letter> <job> <job> `.

-- include append
local noted, noted_size, noted_letter = {}, 0, nil

local function note_event(letter, job_id)
  if letter ~= noted_letter then
    noted_size, noted_letter = noted_size + 1, letter
    noted[noted_size] = '\n' .. letter
  end
  noted_size = noted_size + 1
  noted[noted_size] = job_id
end

-- The last of all that a script does.
local function write_events()
  if noted_size == 0 then return end
  local text = table.concat(noted, ' ')
  append_event(#text, 'e', text)
end
