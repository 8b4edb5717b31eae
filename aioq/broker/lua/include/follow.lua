-- See to what the ends of jobs concern beside their clients.
--
-- A word in the field of a job's waiters says what: `>D:i` job D waits for it as its number i; `<E`
-- job E runs if it fails; `&` more of these are in gd:<job>; `-` its inputs go with it, `=` its plan;
-- `!k` and `?k` it holds a unique key; `^P:n` its durable parent hears of it; `~` its items end, `%`
-- its memo goes.  One call tells so many jobs; the rest is left in `gl` to those after it.
local TOLD = 100 -- one for each that hears of an end, and more for what it does then

local function follow(has_errands)
  if not endings and not has_errands then return end
  -- include moment
  -- include ready
  -- include delay
  -- include park
  local left, at = TOLD, 1
  -- include begin
  -- include tell
  -- include concern
  -- include errands
  repeat
    while endings and endings[at] do
      local job_id, word, state, value, keep_ms = unpack(endings[at])
      if state == 'f' then keep_word(job_id, word) end
      if not is_of_others(word) then
        concern(job_id, word, state, value, keep_ms)
      elseif left > 0 and word ~= '&' then
        pass_on(job_id, word, state, value)
      else
        leave(job_id, word, state, value)
      end
      at = at + 1
    end
    run_errands() -- which may bring more ends
  until not (endings and endings[at])
  endings = nil
  local errand = call('LINDEX', prefix .. 'gl', 0)
  if errand then
    local lane = call('HGET', prefix .. 'j:' .. string.match(errand, '^%a (%S+)'), 'q')
    ring_later(queue_of(lane or COMMON_LANE), 1)
  end
end
