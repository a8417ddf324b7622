-- Blanks keys in an error that the client gets: some vendors quote the key that they were sent, and that is ours. Those
-- that this attempt and its client have sent are blanked whatever they look like, others by how they begin. The
-- beginnings are the contract's (api_keys.py); ids without such a beginning stay, because people look errors up by
-- them. Pure.
--
-- The list of headers that have a client's key, CREDENTIAL, comes before this program.

-- Whether what follows a prefix may be a key's rest: `key_values` is a word.
local function may_be_rest(rest) return #rest >= 4 and (string.find(rest, "[%d*]") ~= nil or #rest >= 20) end

-- A word with the key in it blanked; nil if it has none.
local function without_key(word)
  for at, prefix, rest in string.gmatch(word, "()%f[%w](%w+)[-_]()") do
    local known = string.find(KEY_PREFIXES, " " .. string.lower(prefix) .. " ", 1, true)
    if known and may_be_rest(string.sub(word, rest)) then
      return string.sub(word, 1, at - 1) .. BLANK
    end
  end
  for start in string.gmatch(KEY_STARTS, "%S+") do
    local at = string.find(word, start, 1, true)
    if at ~= nil and #word >= at + #start + 3 and not string.find(string.sub(word, 1, at - 1), "%w$") then
      return string.sub(word, 1, at - 1) .. BLANK
    end
  end
  return string.find(word, "***", 1, true) and string.find(word, "%w") and BLANK or nil -- masked by the vendor
end

local SHORTEST = 8 -- bytes of a key: a shorter one may be a word, unless it has a digit among its letters
local SHORTEST_MIXED = 4
local NO_WORD = 16 -- bytes of a key that is hidden within words, and whatever the case of its letters

-- Adds the key in the value of a header, after the name of its scheme if it has one.
local function add_key(keys, value)
  local key = string.match(value, "^%s*%a+%s+(%S.-)%s*$") or string.match(value, "^%s*(.-)%s*$")
  local mixed = #key >= SHORTEST_MIXED and string.find(key, "%d") and string.find(key, "%a")
  if #key >= SHORTEST or mixed then keys[#keys + 1] = key end
end

-- The keys that an error must not show. `sent` are the values of the headers in which the provider got its own, with
-- a bar before each; `head` has the client's headers, a line for each, nil if there is no client.
local function keys_of(sent, head)
  local keys = {}
  for value in string.gmatch(sent, "[^|]+") do add_key(keys, value) end
  for name, value in string.gmatch(head or "", "([^ \n]+) ([^\n]*)") do
    if CREDENTIAL[name] then add_key(keys, value) end
  end
  return keys
end

-- The character that is written as an escape here, of JSON, also of JSON within JSON, or of a URL, and where the escape
-- has ended.
local function escaped(text, at)
  local hex, to = string.match(text, "^%%(%x%x)()", at)
  if hex == nil then hex, to = string.match(text, "^\\+u00(%x%x)()", at) end
  if hex ~= nil then return string.char(tonumber(hex, 16)), to end
  to = string.match(text, "^\\+[nrtbf]()", at)
  if to ~= nil then return " ", to end
  local plain
  plain, to = string.match(text, '^\\+([/"])()', at)
  if plain ~= nil then return plain, to end
  to = string.match(text, "^\\+()", at)
  return to and "\\" or string.sub(text, at, at), to or at + 1
end

-- The text as it is read, without escapes; and the places where a part of it begins that stands in the text without a
-- gap: first in what is read, then in the text.
local function as_read(text)
  local pieces, begins, places, bytes, at = {}, {}, {}, 0, 1
  local function add(piece, place)
    pieces[#pieces + 1], begins[#begins + 1], places[#places + 1] = piece, bytes + 1, place
    bytes = bytes + #piece
  end
  local from = string.find(text, "[\\%%]")
  while from ~= nil do
    if from > at then add(string.sub(text, at, from - 1), at) end
    local character, to = escaped(text, from)
    add(character, from)
    at = to
    from = string.find(text, "[\\%%]", at)
  end
  add(string.sub(text, at), at)
  add("", #text + 1)
  return table.concat(pieces), begins, places
end

-- Where a byte of what is read stands in the text.
local function place_of(byte, begins, places)
  local low, high = 1, #begins
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if begins[middle] <= byte then low = middle else high = middle - 1 end
  end
  return places[low] + byte - begins[low]
end

-- Whether a short key stands there as a word of its own.
local function is_apart(text, from, to)
  return not string.find(string.sub(text, from - 1, from - 1), "[%w_]") and not string.find(text, "^[%w_]", to + 1)
end

-- Notes where the key stands in what is read.
local function find_key(found, read, lower, key)
  local whole = #key >= NO_WORD
  local text, wanted = whole and lower or read, whole and string.lower(key) or key
  local from, to = string.find(text, wanted, 1, true)
  while from ~= nil do
    if whole or is_apart(text, from, to) then found[#found + 1] = { from, to } end
    from, to = string.find(text, wanted, to + 1, true)
  end
end

-- The text with these keys blanked, as they are or as they stand in JSON or a URL.
local function without_keys(text, keys)
  if #keys == 0 then return text end
  local read, begins, places = as_read(text)
  local lower, found = string.lower(read), {}
  for _, key in ipairs(keys) do
    find_key(found, read, lower, key)
    if string.find(key, "[\\%%]") then find_key(found, read, lower, (as_read(key))) end
  end
  if #found == 0 then return text end
  table.sort(found, function(one, other) return one[1] < other[1] end)
  local pieces, at = {}, 1
  for _, each in ipairs(found) do
    local from, to = place_of(each[1], begins, places), place_of(each[2] + 1, begins, places)
    if from >= at then pieces[#pieces + 1] = string.sub(text, at, from - 1) .. BLANK end
    at = math.max(at, to)
  end
  return table.concat(pieces) .. string.sub(text, at)
end

-- The text of an error, in JSON or not, without keys; all else stays byte for byte.
local function blanked(text, keys)
  local blank = string.gsub(without_keys(text, keys), "(\\?)([%w_*.-]+)", function(slash, word)
    local escape = slash == "" and "" or string.sub(word, 1, string.sub(word, 1, 1) == "u" and 5 or 1)
    local found = without_key(string.sub(word, #escape + 1))
    return found and slash .. escape .. found
  end)
  return (string.gsub(blank, "([Bb]earer )([%w_*.~+/=-]+)", function(before, token)
    return #token >= 8 and string.find(token, "%d") and before .. BLANK or nil
  end))
end
