-- What changes in a good answer on its way to the client: its usage gets the names that clients look for, the model its
-- client's name, and a usage that nobody asked for stays away. What an answer is known by is noted as it passes: its
-- usage, and the id of what it made.
--
-- `seen` is what is known of the answer: handle, api, model (the client's name of it in JSON; nil: the provider's own
-- is wanted), hide (whether usage was not asked for), and what has been read so far.

-- Of events: the member that has what a whole answer is.
local INNER = { OpenAIResponses = "response", AnthropicMessages = "message" }
local MOST_BEFORE = 2048 -- bytes of a line up to its model that are compared with the next line

local function seen_of(handle, api, decision, keeps_model)
  local model = decision[DECISION_MODEL]
  return {
    handle = handle,
    api = api,
    model = not keeps_model and model ~= nil and model ~= "" and quoted(model) or nil,
    hide = decision[DECISION_HIDE_USAGE] and (api == "OpenAIChat" or api == "completions"),
    numbers = {},
  }
end

local function note_tokens(seen, tokens)
  seen.tokens = tokens or seen.tokens
  if tokens ~= nil then seen.handle:streamInfo():dynamicMetadata():set(USAGE_METADATA, USAGE_TOKENS, tokens) end
  return tokens
end

local function note_usage(seen) return note_tokens(seen, tokens_of(seen.numbers, seen.api)) end

-- Puts the client's name of the model in the place of another.
local function add_model(seen, changes, text, value, stop)
  if string.byte(text, value) == 34 and string.sub(text, value, stop) ~= seen.model then
    changes[#changes + 1] = { value, stop, seen.model }
  end
end

local function is_object_at(text, at) return at ~= nil and string.byte(text, at) == 123 end

-- Reads the usage that is open at `open`, and if that does not tell what was cached, what the answer says elsewhere:
-- `root_of` finds its members.
local function read_usage(seen, text, open, root_of)
  read_numbers(seen.numbers, text, open, "")
  if reported(seen.numbers, USAGE_FIELDS[USAGE_CACHED]) == nil then
    for root in pairs(USAGE_ROOTS) do
      local at = root_of(root)
      if is_object_at(text, at) then read_numbers(seen.numbers, text, at, "/" .. root .. ".") end
    end
  end
  return note_usage(seen)
end

local function add_usage(seen, changes, text, open, tokens)
  local details = DETAILS[seen.api]
  if tokens == nil or details == false then return end
  add_details(changes, text, open, details or "prompt_tokens_details", tokens[USAGE_CACHED], tokens[USAGE_WRITTEN])
end

-- Where the usage of an event is open that has it in a place of its own: at a choice, as Moonshot's older streams do,
-- or in what Groq adds.
local function usage_elsewhere(text, found)
  local choice = found.choices and string.match(text, "^%[%s*(){", found.choices)
  local at = choice and member(text, choice, "usage")
  if not is_object_at(text, at) and is_object_at(text, found.x_groq) then at = member(text, found.x_groq, "usage") end
  return is_object_at(text, at) and at or nil
end

-- Gives an event such a usage in the usual place as well.
local function add_copy(seen, changes, text, open, found, close, tokens)
  local copy, inside = string.sub(text, open, closing(text, open + 1)), {}
  add_usage(seen, inside, copy, 1, tokens)
  copy = with_changes(copy, inside)
  if found.usage ~= nil then
    changes[#changes + 1] = { found.usage, value_end(text, found.usage), copy }
  else
    changes[#changes + 1] = { close, close - 1, ',"usage":' .. copy }
  end
end

-- Whether an event with a usage has nothing else that a client would miss: no choice, no error, and no list or
-- object such as of sources.
local function is_only_usage(text, found)
  for name, at in pairs(found) do
    if name == "error" or name == "message" or name == "detail" then
      if has_content(text, at) then return false end
    elseif USAGE_ROOTS[name] then
      if is_object_at(text, at) and member(text, at, "error") ~= nil then return false end
    elseif name ~= "usage" and string.find(text, "^[%[{]%s*[^%s%]}]", at) then
      return false
    end
  end
  return true
end

-- Reads an event, which is open at `open` of its line. Returns whether it is kept from the client, and where its
-- model stands.
local function read_event(seen, changes, text, open, has_usage)
  local found, close = members(text, open)
  if close == nil then return false, nil end
  local inner = INNER[seen.api]
  local whole = found
  if inner ~= nil and is_object_at(text, found[inner]) then
    whole = members(text, found[inner])
    seen.began = true
    if seen.api == "OpenAIResponses" then note_response(seen, text, whole) end
  end
  if seen.model ~= nil and whole.model ~= nil and (inner == nil or whole ~= found) then
    add_model(seen, changes, text, whole.model, value_end(text, whole.model))
  end
  if not has_usage then return false, whole.model end
  local at = is_object_at(text, whole.usage) and whole.usage or is_object_at(text, found.usage) and found.usage or nil
  local elsewhere = at == nil and inner == nil and usage_elsewhere(text, found) or nil
  if at == nil and elsewhere == nil then return false, whole.model end
  local tokens = read_usage(seen, text, at or elsewhere, function(root) return found[root] end)
  if at ~= nil then
    if seen.hide and is_only_usage(text, found) then return true, whole.model end
    add_usage(seen, changes, text, at, tokens)
  elseif not seen.hide and seen.api == "OpenAIChat" then
    add_copy(seen, changes, text, elsewhere, found, close, tokens)
  end
  return false, whole.model
end

-- Where the next usage of a text begins that is more than null.
local function usage_from(text, at)
  at = string.find(text, '"usage"', at, true)
  while at ~= nil and not string.find(text, "^%s*:%s*{", at + 7) do at = string.find(text, '"usage"', at + 7, true) end
  return at
end

-- The model of most events stands where that of the last one did, after the same text: then nothing has to be searched.
-- Returns whether it does in the line that begins at `at`.
local function same_model(seen, changes, text, at)
  local known = seen.before_model
  if known == nil or string.sub(text, at, at + #known - 1) ~= known then return false end
  if seen.model_at ~= nil then changes[#changes + 1] = { at + seen.model_at, at + #known - 1, seen.model } end
  return true
end

-- Notes for that where the model of this line stands, and whether it was replaced.
local function remember_model(seen, line, value, replaced)
  local stop = value and value_end(line, value)
  if stop == nil or stop > MOST_BEFORE then return end
  seen.before_model = string.sub(line, 1, stop)
  seen.model_at = replaced and value - 1 or nil
end

-- Whole lines of a stream as the client gets them; nil if nothing changes.
local function lines_for_client(seen, text)
  local inner = INNER[seen.api]
  local usage = usage_from(text, 1)
  local named = inner ~= nil and string.find(text, '"' .. inner .. '"', 1, true)
  if usage == nil and (inner ~= nil and not named or inner == nil and seen.model == nil) then return nil end
  local changes, at, event_from = {}, 1, not seen.within_event and 1 or nil
  local separator = string.find(text, "\n", 1, true) and "\n" or "\r"
  while at <= #text do
    local stop = string.find(text, separator, at, true) or #text
    if usage ~= nil and usage < at then usage = usage_from(text, at) end
    local has_usage = usage ~= nil and usage <= stop
    local open = string.byte(text, at) == 100 and string.match(text, "^data:[ \t]*(){", at)
    if open then
      local before, known = #changes, inner == nil and same_model(seen, changes, text, at)
      if has_usage or not known and (inner == nil and seen.model ~= nil or named) then
        while #changes > before do changes[#changes] = nil end
        -- A text of its own: what does not close in it is not looked for in all that follows.
        local line, inside = string.sub(text, at, stop), {}
        local hidden, model = read_event(seen, inside, line, open - at + 1, has_usage)
        if hidden and event_from ~= nil then
          local blank = string.match(text, "^\r?\n()", stop + 1)
          stop = blank and blank - 1 or stop
          changes[#changes + 1] = { event_from, stop, "" }
          event_from = stop + 1
        else
          if inner == nil and not has_usage and seen.model ~= nil then
            remember_model(seen, line, model, #inside > 0)
          end
          for _, change in ipairs(inside) do
            changes[#changes + 1] = { change[1] + at - 1, change[2] + at - 1, change[3] }
          end
        end
      end
    elseif stop - at <= 1 and string.find(text, "^\r?[\r\n]", at) then
      event_from = stop + 1
    end
    at = stop + 1
  end
  return #changes > 0 and with_changes(text, changes) or nil
end

-- The same for an object that is an answer, as far as the text has it. Returns whether its model was found, and
-- whether its usage.
local function read_object(seen, changes, text, open)
  local found = members(text, open)
  if seen.api == "OpenAIResponses" and found.object ~= nil and string.find(text, '^"response"', found.object) then
    note_response(seen, text, found)
  end
  local model_stop = found.model and value_end(text, found.model)
  if model_stop ~= nil and seen.model ~= nil then add_model(seen, changes, text, found.model, model_stop) end
  local at = found.usage
  if not is_object_at(text, at) or closing(text, at + 1) == nil then return model_stop ~= nil, false end
  add_usage(seen, changes, text, at, read_usage(seen, text, at, function(root) return found[root] end))
  return model_stop ~= nil, true
end

-- The same for its end, if that is the end of the text, or at `level` 2 what is around it ends there. Returns
-- whether its usage was found.
local function read_end(seen, changes, text, level, has_model)
  if not has_model and seen.model ~= nil then
    local value, stop = outermost(text, '"model"', level)
    if value ~= nil then add_model(seen, changes, text, value, stop) end
  end
  local at = outermost(text, '"usage"', level)
  if not is_object_at(text, at) then return false end
  local function root_of(root) return (outermost(text, '"' .. root .. '"', level)) end
  add_usage(seen, changes, text, at, read_usage(seen, text, at, root_of))
  return true
end

-- Where the value of the model begins, and where it ends, if nothing but texts and numbers stand before it; else nil.
local function model_at_head(text, open)
  local at = string.find(text, '"model"', open + 1, true)
  local object, list = string.find(text, "{", open + 1, true), string.find(text, "[", open + 1, true)
  local before = math.min(object or #text, list or #text)
  if at == nil or before == #text or before < at then return nil end
  -- A quote inside of a string has a backslash before it, and no name of a member is followed by anything but a colon.
  local value = string.byte(text, at - 1) ~= 92 and string.match(text, "^%s*:%s*()", at + 7)
  if value then return value, value_end(text, value) end
  return member(text, open, "model")
end

-- Whether an answer has members, beside its usage, that may tell what was read from the cache.
local function has_roots(text)
  for root in pairs(USAGE_ROOTS) do
    if string.find(text, root, 1, true) then return true end
  end
  return false
end

-- Reads the usage that ends a whole answer. Returns whether one does.
local function read_usage_at_end(seen, changes, text)
  local from = string.find(text, '"usage"', 1, true)
  if from == nil or string.byte(text, from - 1) == 92 then return read_end(seen, changes, text, 1, true) end
  local shape, tokens, total = known_shape(seen.api, text, from)
  if shape ~= nil and (tokens[USAGE_CACHED] ~= nil or not has_roots(text)) then
    tokens = note_tokens(seen, settled(tokens, seen.api, total))
    if shape.changes then add_usage(seen, changes, text, from + shape.open, tokens) end
    return true
  end
  local before, open = #changes, string.match(text, '^"usage"%s*:%s*(){', from)
  local found = read_end(seen, changes, text, 1, true)
  if found and shape == nil and open ~= nil and open == outermost(text, '"usage"', 1) then
    keep_shape(seen.api, text, from, open, #changes > before)
  end
  return found
end

-- A whole object, without a look at what the model says: its model stands before that and its usage behind it, as
-- nearly all write them. Returns false if this one has them elsewhere.
local function read_both_ends(seen, changes, text, open)
  if seen.api == "OpenAIResponses" then return false end
  if seen.model ~= nil then
    local value, stop = model_at_head(text, open)
    if stop == nil then return false end
    add_model(seen, changes, text, value, stop)
  end
  return read_usage_at_end(seen, changes, text)
end

-- A whole JSON answer as the client gets it; nil if nothing changes.
local function whole_for_client(seen, text)
  local open, changes = string.match(text, "^%s*(){"), {}
  if open ~= nil and not read_both_ends(seen, changes, text, open) then
    changes = {}
    read_object(seen, changes, text, open)
  end
  return #changes > 0 and with_changes(text, changes) or nil
end

-- These read long texts: see interpreted.lua.
for _, reading in ipairs({
  lines_for_client, read_event, remember_model, same_model, read_usage,
}) do jit.on(reading, true) end
