-- The value of a name in a table that `models.py` wrote; nil if the name is not in it.
local function look_up(entries, name)
  local key = string.gsub(name, "[%z\1-\31%%]", function(byte) return string.format("%%%02X", string.byte(byte)) end)
  local _, before = string.find(entries, "\n=" .. key .. "\n", 1, true)
  return before and string.match(entries, "^[^\n]*", before + 1)
end
