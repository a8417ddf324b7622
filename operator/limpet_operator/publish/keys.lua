-- Blanks what looks like a key in an error that the client gets: some vendors quote the key that they were sent, and
-- that is ours. The beginnings of keys are the contract's (api_keys.py); ids without such a beginning stay, because
-- people look errors up by them. Pure.

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

-- The text of an error, in JSON or not, without keys; all else stays byte for byte.
local function blanked(text)
  local blank = string.gsub(text, "(\\?)([%w_*.-]+)", function(slash, word)
    local escape = slash == "" and "" or string.sub(word, 1, string.sub(word, 1, 1) == "u" and 5 or 1)
    local found = without_key(string.sub(word, #escape + 1))
    return found and slash .. escape .. found
  end)
  return (string.gsub(blank, "([Bb]earer )([%w_*.~+/=-]+)", function(before, token)
    return #token >= 8 and string.find(token, "%d") and before .. BLANK or nil
  end))
end
