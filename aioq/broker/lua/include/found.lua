-- Note what is wrong with something; where repairs are wanted, mend it, and note how.
local findings = {}

local function found(code, name, detail, mend)
  local size = #findings
  findings[size + 1], findings[size + 2], findings[size + 3] = code, name, detail
  findings[size + 4] = repair and mend and mend() or ''
end
