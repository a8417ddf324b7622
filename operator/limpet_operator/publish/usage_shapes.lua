-- Recognises the end of a whole answer that is written as an earlier one was, but for its numbers. A provider writes the
-- usage of each answer alike, so that one comparison takes the place of reading it member by member.
--
-- A shape is a pattern for the text from the name of the usage to the end of the answer, and which of its numbers are
-- counts. The last ones are kept as long as the program is, by the API that was asked: they say nothing of an answer but
-- how it is written. So an answer has no shape if there is more in that text than names, numbers, true, false, null and
-- strings, which vary: a list may be what was said.

local MOST_SHAPES = 16 -- of an API
local LONGEST_SHAPE = 1024 -- bytes
local MOST_VARYING = 24 -- values of a shape that may vary: LuaJIT bounds how many parts a pattern has
local DEEPEST = 2 -- objects within the usage that are looked into

local shapes = {}

-- Adds where each value stands that is no object, with its place in the usage; `path` is nil for what follows the usage.
-- Returns whether the object ends after them, and nothing else is in it.
local function add_values(values, text, open, path, depth)
  local name, value, stop = next_member(text, open + 1)
  local last = open
  while name ~= nil and stop ~= nil do
    if not string.find(name, "^[%w_.-]+$") then return false end
    local place = path and path .. name
    if string.byte(text, value) == 123 and depth < DEEPEST then
      if not add_values(values, text, value, place and place .. ".", depth + 1) then return false end
    else
      values[#values + 1] = { value, stop, place }
    end
    last = stop
    name, value, stop = next_member(text, stop + 1)
  end
  return string.find(text, "^%s*}", last + 1) ~= nil
end

local function literal(text) return (string.gsub(text, "%p", "%%%0")) end

local CONSTANTS = { ["true"] = "true", ["false"] = "false", ["null"] = "null" }

-- The pattern for a value that is no count; nil if it may say more than how an answer is written.
local function pattern_of(part)
  if string.find(part, "^%-?%d[%d.eE+-]*$") then return "[%d.eE+-]+" end
  if string.find(part, '^"[^"\\]*"$') then return '"[^"\\]*"' end
  return CONSTANTS[part]
end

-- By name of a count which of these numbers is it; nil if one may be a sum.
local function indexes_of_counts(indexes)
  local counts = {}
  for name, fields in pairs(USAGE_FIELDS) do
    for _, places in ipairs(fields) do
      for _, place in ipairs(places) do
        if counts[name] == nil and indexes[place] ~= nil then
          if #places > 1 then return nil end
          counts[name] = indexes[place]
        end
      end
    end
  end
  return counts
end

-- The shape of an answer with the name of its usage at `from`, and its value from `open` to `close`; nil if one
-- comparison cannot tell the counts.
local function shape_of(text, from, open, close)
  if #text - from > LONGEST_SHAPE or string.find(text, "%z", from) then return nil end
  local values, pieces, indexes, at, numbers = {}, { "^" }, {}, from, 0
  if not (add_values(values, text, open, "", 0) and add_values(values, text, close, nil, 0)) then return nil end
  if #values > MOST_VARYING then return nil end
  for _, each in ipairs(values) do
    local value, stop, place = each[1], each[2], each[3]
    local part = string.sub(text, value, stop)
    local pattern = pattern_of(part)
    if PLACES[place or ""] and string.find(part, "^[%d-]") then
      -- One that is no count, or too large, is read with more care, and would not be found again.
      if indexes[place] ~= nil or string.find(part, "%D") or tonumber(part) > MOST_TOKENS then return nil end
      numbers = numbers + 1
      indexes[place], pattern = numbers, "(%d+)"
    end
    if pattern == nil then return nil end
    pieces[#pieces + 1] = literal(string.sub(text, at, value - 1)) .. pattern
    at = stop + 1
  end
  pieces[#pieces + 1] = literal(string.sub(text, at)) .. "$"
  local counts = indexes_of_counts(indexes)
  if counts == nil or counts[USAGE_PROMPT] == nil then return nil end
  return { pattern = table.concat(pieces), counts = counts, total = indexes["total_tokens"], open = open - from }
end

-- Keeps how this answer ends, whose usage has its name at `from` and its value at `open`. `changes`: whether something
-- in it is changed for clients.
local function keep_shape(api, text, from, open, changes)
  local close = value_end(text, open)
  local shape = close and shape_of(text, from, open, close)
  if shape == nil then return end
  shape.changes = changes
  shapes[api] = shapes[api] or {}
  table.insert(shapes[api], 1, shape)
  shapes[api][MOST_SHAPES + 1] = nil
end

-- The shape of an answer whose usage has its name at `from`, with the counts that it has; nil if it is not known, or
-- a count is too large: such an answer has no shape.
local function known_shape(api, text, from)
  for number, shape in ipairs(shapes[api] or {}) do
    local found = { string.match(text, shape.pattern, from) }
    if found[1] ~= nil then
      local tokens, total = {}, tonumber(found[shape.total])
      if total ~= nil and total > MOST_TOKENS then return nil end
      for name, index in pairs(shape.counts) do
        tokens[name] = tonumber(found[index])
        if tokens[name] > MOST_TOKENS then return nil end
      end
      if number > 1 then table.insert(shapes[api], 1, table.remove(shapes[api], number)) end
      return shape, tokens, total
    end
  end
  return nil
end
