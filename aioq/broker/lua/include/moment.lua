-- A whole number of milliseconds; nil for what is none.  The year 9999 is the end of time.
local LAST_MS = 253402300799000
local function whole(text)
  local number = tonumber(text)
  if number and number == number then
    return math.max(math.floor(math.min(number, LAST_MS)), 0)
  end
end

-- '+250' is 250 ms from now, '1700000000000' is that moment; nil for what is neither.
local function moment(text)
  local number = whole(text)
  if number and string.byte(text) == 43 then
    return math.min(now_ms + number, LAST_MS)
  end
  return number
end
