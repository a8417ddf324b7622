-- Counts the bytes that a program looks at, by what it asks of Lua's strings: so how its work grows with its input is
-- seen without a clock.

looked_at = 0

local find, match, gmatch, sub, gsub = string.find, string.match, string.gmatch, string.sub, string.gsub
local byte, lower = string.byte, string.lower

-- Of a pattern that is held to its place no more is counted than what it found, or the blanks that it may have gone
-- over.
local function count(text, pattern, from, to)
  from = math.max(from or 1, 1)
  if to == nil then
    local held = sub(pattern, 1, 1) == "^" and not find(pattern, ".*", 1, true) and not find(pattern, "%b", 1, true)
    to = held and select(2, find(text, "^[%s,]*", from)) or #text
  end
  looked_at = looked_at + math.max(to - from, 0) + 1
end

function string.find(text, pattern, from, plain)
  local found = { find(text, pattern, from, plain) }
  count(text, plain and " " or pattern, from, found[2])
  return unpack(found, 1, math.max(#found, 1))
end

function string.match(text, pattern, from)
  count(text, pattern, from, select(2, find(text, pattern, from)))
  return match(text, pattern, from)
end

function string.gmatch(text, pattern)
  looked_at = looked_at + #text
  return gmatch(text, pattern)
end

function string.gsub(text, pattern, by)
  looked_at = looked_at + #text
  return gsub(text, pattern, by)
end

function string.sub(text, from, to)
  local part = sub(text, from, to)
  looked_at = looked_at + #part + 1
  return part
end

function string.byte(text, at)
  looked_at = looked_at + 1
  return byte(text, at)
end

function string.lower(text)
  looked_at = looked_at + #text
  return lower(text)
end
