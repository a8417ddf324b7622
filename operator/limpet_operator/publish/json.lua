-- Finds members in the text of JSON objects, so that a few can be changed and all else stays byte for byte. Pure.

-- Position of the quote that ends the string which begins at `open`; nil if it does not end in this text.
local function string_close(text, open)
  local close = string.find(text, '"', open + 1, true)
  while close ~= nil and string.byte(text, close - 1) == 92 do
    local slash = close - 2
    while string.byte(text, slash) == 92 do slash = slash - 1 end
    if (close - slash) % 2 == 1 then return close end
    close = string.find(text, '"', close + 1, true)
  end
  return close
end

-- Position of the bracket that closes what is open at `at`; nil if it does not close in this text.
local function closing(text, at)
  local depth = 0
  at = string.find(text, '["{}%[%]]', at)
  while at ~= nil do
    local byte = string.byte(text, at)
    if byte == 34 then
      at = string_close(text, at)
      if at == nil then return nil end
    elseif byte == 123 or byte == 91 then
      depth = depth + 1
    elseif depth == 0 then
      return at
    else
      depth = depth - 1
    end
    at = string.find(text, '["{}%[%]]', at + 1)
  end
  return nil
end

-- Position of the last byte of the value that begins at `at`; nil if it does not end in this text.
local function value_end(text, at)
  local byte = string.byte(text, at)
  if byte == 34 then return string_close(text, at) end
  if byte == 123 or byte == 91 then return closing(text, at + 1) end
  local after = string.find(text, "[,}%]%s]", at)
  return after and after - 1
end

-- The next member of an object from `at` on: its name, where its value begins, and where that ends; nil if there is
-- none.
local function next_member(text, at)
  local open = string.match(text, '^[%s,]*()"', at)
  local close = open and string_close(text, open)
  local value = close and string.match(text, "^%s*:%s*()", close + 1)
  if value == nil then return nil end
  return string.sub(text, open + 1, close - 1), value, value_end(text, value)
end

-- Where the value of a member of the object begins that is open at `open`, and where it ends; nil if it has no such
-- member so far.
local function member(text, open, wanted)
  local name, value, stop = next_member(text, open + 1)
  while name ~= nil and name ~= wanted do
    if stop == nil then return nil end
    name, value, stop = next_member(text, stop + 1)
  end
  return value, stop
end

-- Where the values of its members begin, by their names, as far as this text has them, and where it closes; nil if
-- it does not.
local function members(text, open)
  local found, at = {}, open
  while at ~= nil do
    local name, value, stop = next_member(text, at + 1)
    if name == nil then return found, string.match(text, "^%s*()}", at + 1) end
    found[name], at = value, stop
  end
  return found, nil
end

-- Where the value of a member begins, and where it ends, of the outermost object, or of one inside of it at `level`
-- 2. That ends with the text; its beginning may be missing. Names are told from words: a quote inside of a string
-- has a backslash before it.
local function outermost(text, quoted, level)
  local found = {}
  local at = string.find(text, quoted, 1, true)
  while at ~= nil do
    local value = string.match(text, "^%s*:%s*()", at + #quoted)
    if value ~= nil and string.byte(text, at - 1) ~= 92 then found[#found + 1] = value end
    at = string.find(text, quoted, at + #quoted, true)
  end
  for number = #found, math.max(1, #found - 8), -1 do
    local stop = value_end(text, found[number])
    local close = stop and closing(text, stop + 1)
    for _ = 2, level do close = close and closing(text, close + 1) end
    if close ~= nil and string.find(text, "^}%s*$", close) then return found[number], stop end
  end
  return nil
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\" }

local function quoted(text)
  if not string.find(text, '[%z\1-\31"\\]') then return '"' .. text .. '"' end
  return '"' .. string.gsub(text, '[%z\1-\31"\\]', function(byte)
    return ESCAPES[byte] or string.format("\\u%04x", string.byte(byte))
  end) .. '"'
end

local function earlier(one, other) return one[1] < other[1] end

-- A text with changes: where each begins, the last byte that it replaces, and what takes its place.
local function with_changes(text, changes)
  if #changes > 1 then table.sort(changes, earlier) end
  local pieces, at = {}, 1
  for _, change in ipairs(changes) do
    pieces[#pieces + 1] = string.sub(text, at, change[1] - 1)
    pieces[#pieces + 1] = change[3]
    at = change[2] + 1
  end
  pieces[#pieces + 1] = string.sub(text, at)
  return table.concat(pieces)
end

-- These read long texts: see interpreted.lua.
for _, reading in ipairs({
  string_close, closing, value_end, next_member, member, members, outermost,
}) do jit.on(reading, true) end
