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

local SHORTEST = 8 -- bytes of a key: a shorter one may be part of many words

-- Adds the key in the value of a header, after the name of its scheme if it has one.
local function add_key(keys, value)
  local key = string.match(value, "^%s*%a+%s+(%S.-)%s*$") or string.match(value, "^%s*(.-)%s*$")
  if #key >= SHORTEST then keys[#keys + 1] = key end
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

-- The text with each of these places blanked.
local function without_text(text, key)
  local pieces, at = {}, 1
  local from, to = string.find(text, key, at, true)
  while from ~= nil do
    pieces[#pieces + 1] = string.sub(text, at, from - 1) .. BLANK
    at = to + 1
    from, to = string.find(text, key, at, true)
  end
  return at > 1 and table.concat(pieces) .. string.sub(text, at) or text
end

local function in_url(character) return string.format("%%%02X", string.byte(character)) end

-- The same with these keys blanked, as they are or as they stand in JSON or a URL.
local function without_keys(text, keys)
  for _, key in ipairs(keys) do
    text = without_text(text, key)
    if string.find(key, "[^%w]") then
      text = without_text(text, (string.gsub(key, "/", "\\/")))
      text = without_text(text, (string.gsub(key, "[^%w_.~-]", in_url)))
    end
  end
  return text
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
