-- Reads the token usage of an answer, in whatever words its vendor has for it, and adds it in the words that clients
-- look for.
--
-- USAGE_FIELDS comes before this program: for each number the places where it may stand.

local MOST_TOKENS = 1e9 -- no answer has more; a larger number is a mistake

-- The places, and with a dot at the end the objects in which they are.
local PLACES = { total_tokens = true }
-- Members of an answer, beside its usage, that have such a number.
local USAGE_ROOTS = {}
for _, fields in pairs(USAGE_FIELDS) do
  for _, places in ipairs(fields) do
    for _, place in ipairs(places) do
      PLACES[place] = true
      for dot in string.gmatch(place, "()%.") do PLACES[string.sub(place, 1, dot)] = true end
      local root = string.match(place, "^/([^.]+)")
      if root ~= nil then USAGE_ROOTS[root] = true end
    end
  end
end

-- What clients of each API look for; a Messages answer has its vendor's own names in all cases.
local DETAILS = { OpenAIResponses = "input_tokens_details", AnthropicMessages = false }

-- Adds the numbers in an object to `numbers`, by their paths. What is no count is none: text, null, less than
-- nothing. A later number counts, unless it is 0: some vendors repeat the fields of the prompt so.
local function read_numbers(numbers, text, open, path)
  local name, value, stop = next_member(text, open + 1)
  while name ~= nil and stop ~= nil do
    local place = path .. name
    if string.byte(text, value) == 123 then
      if PLACES[place .. "."] then read_numbers(numbers, text, value, place .. ".") end
    elseif PLACES[place] then
      local number = tonumber(string.match(string.sub(text, value, stop), "^%d[%d.eE+-]*$") or "")
      if number ~= nil and number <= MOST_TOKENS and (number > 0 or numbers[place] == nil) then
        numbers[place] = math.floor(number)
      end
    end
    name, value, stop = next_member(text, stop + 1)
  end
end

-- The number that stands in the first of its places; nil: it was not reported.
local function reported(numbers, fields)
  for _, places in ipairs(fields) do
    local sum
    for _, place in ipairs(places) do
      if numbers[place] ~= nil then sum = (sum or 0) + numbers[place] end
    end
    if sum ~= nil then return sum end
  end
  return nil
end

-- What was reported, as it counts. The prompt has all that was read from the cache and written to it: Anthropic counts
-- these apart. nil if it was not reported.
local function settled(tokens, api, total)
  local prompt = tokens[USAGE_PROMPT]
  if prompt == nil then return nil end
  if api == "AnthropicMessages" then
    prompt = prompt + (tokens[USAGE_CACHED] or 0) + (tokens[USAGE_WRITTEN] or 0)
    tokens[USAGE_PROMPT] = prompt
  end
  -- xAI counts what was thought beside the output, and all of it in the total.
  local output, thought = tokens[USAGE_OUTPUT], tokens[USAGE_REASONING]
  if output ~= nil and thought ~= nil and thought > 0 and total == prompt + output + thought then
    tokens[USAGE_OUTPUT] = output + thought
  end
  local cached, written = tokens[USAGE_CACHED], tokens[USAGE_WRITTEN]
  if cached ~= nil and cached > prompt then tokens[USAGE_CACHED] = prompt end
  if written ~= nil and written > prompt then tokens[USAGE_WRITTEN] = prompt end
  return tokens
end

-- The numbers of an answer, each absent if it was not reported.
local function tokens_of(numbers, api)
  local tokens = {}
  for name, fields in pairs(USAGE_FIELDS) do tokens[name] = reported(numbers, fields) end
  return settled(tokens, api, numbers["total_tokens"])
end

local function is_number(text, at) return string.find(text, "^%d", at) ~= nil end

-- Adds to `changes` what the usage that is open at `open` lacks of these two.
local function add_details(changes, text, open, name, cached, written)
  local wanted = { { "cached_tokens", cached }, { "cache_write_tokens", written } }
  local at, stop = member(text, open, name)
  local is_object = at ~= nil and string.byte(text, at) == 123
  local lacking = {}
  for _, each in ipairs(wanted) do
    if each[2] ~= nil then
      local value, value_stop
      if is_object then value, value_stop = member(text, at, each[1]) end
      if value == nil then
        lacking[#lacking + 1] = '"' .. each[1] .. '":' .. string.format("%d", each[2])
      elseif not is_number(text, value) then
        changes[#changes + 1] = { value, value_stop, string.format("%d", each[2]) }
      end
    end
  end
  if #lacking == 0 then return end
  local added = table.concat(lacking, ",")
  if is_object then
    if not string.find(text, "^%s*}", at + 1) then added = added .. "," end
    changes[#changes + 1] = { at + 1, at, added }
  elseif at ~= nil then
    changes[#changes + 1] = { at, stop, "{" .. added .. "}" }
  else
    local close = closing(text, open + 1)
    local comma = string.find(text, "^%s*}", open + 1) and "" or ","
    changes[#changes + 1] = { close, close - 1, comma .. '"' .. name .. '":{' .. added .. "}" }
  end
end
