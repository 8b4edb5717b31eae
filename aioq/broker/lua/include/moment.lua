-- '+250' is 250 ms from now, '1700000000000' is that moment, '' is none; the year 9999 is the end.
local LAST_MS = 253402300799000
local function moment(text)
  if text == '' then
    return nil
  elseif string.byte(text) == 43 then
    return math.min(now_ms + tonumber(text), LAST_MS)
  end
  return math.min(tonumber(text), LAST_MS)
end
