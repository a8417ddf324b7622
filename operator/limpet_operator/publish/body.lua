-- Reads the body of a request: the members of a JSON object, however their names are spelled. Pure. Unlike json.lua,
-- which looks for a few members of an answer that passes, it takes nothing that is not an object as a whole.

-- Strings and brackets; so many take about 50 ms, in which this thread serves no other request.
local MOST_STEPS = 200000
local SHORT = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function utf8(code)
  if code < 0x80 then return string.char(code) end
  local tail, room = "", 0x40
  repeat
    tail = string.char(0x80 + code % 0x40) .. tail
    code, room = math.floor(code / 0x40), room / 2
  until code < room
  return string.char(({ 0xC0, 0xE0, 0xF0 })[#tail] + code) .. tail
end

-- The text of a JSON string; nil if it is invalid.
local function unescaped(quoted)
  local text = string.sub(quoted, 2, -2)
  local pieces, at = {}, 1
  while true do
    local slash = string.find(text, "\\", at, true)
    if slash == nil then break end
    pieces[#pieces + 1] = string.sub(text, at, slash - 1)
    local letter = string.sub(text, slash + 1, slash + 1)
    local code = letter == "u" and tonumber(string.match(text, "^%x%x%x%x", slash + 2) or "", 16) or nil
    if code ~= nil then
      at = slash + 6
      local low = tonumber(string.match(text, "^\\u(%x%x%x%x)", at) or "", 16)
      if code >= 0xD800 and code < 0xDC00 and low ~= nil and low >= 0xDC00 and low < 0xE000 then
        code, at = 0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00, at + 6
      end
      pieces[#pieces + 1] = utf8(code)
    elseif SHORT[letter] ~= nil then
      pieces[#pieces + 1] = SHORT[letter]
      at = slash + 2
    else
      return nil
    end
  end
  pieces[#pieces + 1] = string.sub(text, at)
  return table.concat(pieces)
end

-- The members of an object: key, offset of its first byte, offset and length of its value, and the offset after it. If
-- it is no object, nil; if it has too many parts, nil and the first members.
local function members_of(text)
  local found, depth, steps = {}, 0, 0
  local key, key_at, value_at
  local function add(stop)
    local value, to = string.find(text, "%S", value_at), stop - 1
    while string.find(text, "^%s", to) do to = to - 1 end
    found[#found + 1] = {
      key = unescaped(key), from = key_at - 1, value_at = value - 1, value_length = to - value + 1, to = to,
    }
    key, key_at, value_at = nil, nil, nil
    return to >= value and found[#found].key ~= nil
  end
  local i = string.find(text, "%S")
  if i == nil or string.byte(text, i) ~= 123 then return nil end
  while i ~= nil do
    steps = steps + 1
    if steps > MOST_STEPS then return nil, found end
    local c = string.byte(text, i)
    if c == 34 then
      local close = string_close(text, i)
      if close == nil then return nil end
      if depth == 1 and value_at == nil then
        if key ~= nil then return nil end
        key, key_at = string.sub(text, i, close), i
      end
      i = close
    elseif c == 123 or c == 91 then
      if depth == 1 and value_at == nil then return nil end
      depth = depth + 1
    elseif c == 58 then
      if key == nil then return nil end
      value_at = value_at or i + 1
    elseif c == 44 then
      if value_at == nil or not add(i) then return nil end
    elseif depth > 1 then
      depth = depth - 1
    else
      if c ~= 125 or string.find(text, "%S", i + 1) ~= nil then return nil end
      if key == nil and #found > 0 then return nil end
      if key ~= nil and (value_at == nil or not add(i)) then return nil end
      return found
    end
    i = string.find(text, depth == 1 and '["{}%[%],:]' or '["{}%[%]]', i + 1)
  end
  return nil
end

local function value_of(text, member)
  return string.sub(text, member.value_at + 1, member.value_at + member.value_length)
end
