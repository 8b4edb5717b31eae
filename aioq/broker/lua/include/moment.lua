-- '+250' is 250 ms from now, '1700000000000' is that moment, '' is none.
local function moment(text)
  if text == '' then
    return nil
  elseif string.byte(text) == 43 then
    return now_ms + tonumber(text)
  end
  return tonumber(text)
end
