-- Runs before the router for requests that ext_proc has not decided, because it is away or has no catalog yet. It keeps what must hold
-- regardless: models go to providers that serve them, and Limpet's own fields are cut from the body.
--
-- filter context: models = a table of the providers of each in the order in which they are tried, with spaces between; apis = a table of the
-- APIs of each provider, with spaces around; attempts = how many of them are tried, and tries = how often each; of_objects is set for requests
-- that name no model; stream and whole = what follows the number of attempts in the key of Envoy's route; header_mode is set where a header names the
-- provider.

local MOST_STEPS = 200000 -- strings and brackets; so many take about 50 ms, in which this thread serves no other request
local OURS = { provider = true, allow_fallbacks = true, session_id = true, models = true }
local ONCE = { model = true, messages = true, provider = true, allow_fallbacks = true, session_id = true, models = true,
  input = true, previous_response_id = true, conversation = true }
local PINS = { "previous_response_id", "conversation" } -- fields of what lives at one provider
-- May be ignored here; all else in `provider` restricts the choice, which this program cannot enforce.
local WISHES = { order = true, sort = true, allow_fallbacks = true }
local NOTHING = { ["null"] = true, ["{}"] = true, ["[]"] = true, ['""'] = true }
local SHORT = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

-- Position of the quote that ends the string which begins at `open`.
local function string_end(text, open)
  local close = open
  while true do
    close = string.find(text, '"', close + 1, true)
    if close == nil then return nil end
    local slash = close - 1
    while string.byte(text, slash) == 92 do slash = slash - 1 end
    if (close - slash) % 2 == 1 then return close end
  end
end

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

-- The members of an object: key, offset of its first byte, offset and length of its value, and the offset after it. If it is no object,
-- nil; if it has too many parts, nil and the first members.
local function members(text)
  local found, depth, steps = {}, 0, 0
  local key, key_at, value_at
  local function add(stop)
    local value, to = string.find(text, "%S", value_at), stop - 1
    while string.find(text, "^%s", to) do to = to - 1 end
    found[#found + 1] = { key = unescaped(key), from = key_at - 1, value_at = value - 1, value_length = to - value + 1, to = to }
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
      local close = string_end(text, i)
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

-- Splices without Limpet's own members, each cut with one comma, so that the rest is still an object; and for the model's name.
local function splices_of(all)
  local splices, kept_before = {}, false
  for n, member in ipairs(all) do
    if not OURS[member.key] then
      kept_before = true
      if member.key == "model" then splices[#splices + 1] = { member.value_at, member.value_length, true } end
    elseif kept_before then
      splices[#splices + 1] = { all[n - 1].to, member.to - all[n - 1].to, "" }
    elseif all[n + 1] ~= nil then
      splices[#splices + 1] = { member.from, all[n + 1].from - member.from, "" }
    else
      splices[#splices + 1] = { member.from, member.to - member.from, "" }
    end
  end
  return splices
end

-- Whether a field of `provider` restricts the choice.
local function demands(value)
  if NOTHING[value] then return false end
  local all = members(value)
  if all == nil then return true end
  for _, member in ipairs(all) do
    local wanted = value_of(value, member)
    if member.key == "allow_fallbacks" and wanted == "false" then return true end
    if not WISHES[member.key] and not NOTHING[wanted] and wanted ~= "false" and wanted ~= '"allow"' then return true end
  end
  return false
end

-- `client` is who is answered: its handle, and whether it speaks Anthropic's API.
local function refuse(client, status, reason, kind, code, param, message)
  client.handle:streamInfo():dynamicMetadata():set(DECISION_METADATA, DECISION_REASON, reason)
  local head, tail = error_halves(client.anthropic, status, kind, code, param)
  client.handle:respond(
    { [":status"] = status, ["content-type"] = "application/json", [DECISION_HEADER] = reason }, head .. message .. tail)
end

local function bad(client, param, message)
  refuse(client, "400", REFUSED_BAD_REQUEST, "invalid_request_error", "bad_request", param, message)
end

local function undecidable(client, param, message)
  refuse(client, "503", FALLBACK_UNDECIDED, "server_error", "no_provider_available", param,
    "Routing is temporarily unavailable" .. message .. "; try again.")
end

-- The providers of a model that serve an API, in their order; empty if there are none.
local function serving(context, model, api)
  local names, most = {}, tonumber(context:get("attempts"))
  for name in string.gmatch(look_up(context:get("models"), model) or "", "%S+") do
    local apis = look_up(context:get("apis"), name) or ""
    if #names < most and string.find(apis, " " .. api .. " ", 1, true) then names[#names + 1] = name end
  end
  return names
end

function envoy_on_request(handle)
  if handle:streamInfo():dynamicMetadata():get(DECISION_METADATA)[DECISION_MODEL] ~= nil then return end
  local headers = handle:headers()
  local path, in_path = asked(headers:get(":path"))
  local api = api_of(path) or ""
  local client = { handle = handle, anthropic = speaks_anthropic(path, headers:get("anthropic-version")) }
  if handle:filterContext():get("of_objects") then return undecidable(client, nil, " for what lives at a provider") end
  local encoding = headers:get("content-encoding")
  if encoding ~= nil and string.lower(encoding) ~= "identity" then
    return refuse(client, "415", REFUSED_CONTENT_ENCODING, "invalid_request_error", "unsupported_content_encoding", nil,
      "Limpet has to read the prompt; send the body uncompressed.")
  end
  if string.find(string.lower(headers:get("content-type") or ""), "^%s*multipart/") then
    return undecidable(client, nil, " for a body in several parts")
  end
  local body = handle:body() -- objects from before this line are invalid after it
  local text = body ~= nil and body:getBytes(0, body:length()) or ""
  local all, first = members(text)
  if all == nil and first == nil then
    return bad(client, nil, "the body is not a JSON object; send one with 'model' and what else its API asks for")
  end
  local named = {}
  for _, member in ipairs(all or first) do
    local key = member.key
    if key == "stream" then
      named.stream = member
    elseif ONCE[key] then
      if named[key] ~= nil then
        return bad(client, key, "the body has the key '" .. key .. "' more than once")
      end
      named[key] = member
    elseif string.lower(key) == "model" then
      return bad(client, key,
        "the body has the key '" .. key .. "': some providers take it for 'model', so write 'model' alone")
    end
  end
  if all == nil then return undecidable(client, nil, " for a body this complex") end
  local model = named.model
  if named.provider ~= nil and demands(value_of(text, named.provider)) then
    return undecidable(client, "provider", ": the demands in 'provider' can't be checked right now")
  end
  for _, key in ipairs(PINS) do
    if named[key] ~= nil and not NOTHING[value_of(text, named[key])] then
      return undecidable(client, key, ": which provider has what '" .. key .. "' names is not known right now")
    end
  end
  local quoted = model ~= nil and value_of(text, model) or ""
  local is_text = string.byte(quoted) == 34 and string_end(quoted, 1) == #quoted
  local name = is_text and unescaped(quoted) or nil
  if in_path ~= nil and in_path ~= name then return undecidable(client, "model", " for a model that stands in the path alone") end
  if name == nil then return bad(client, "model", "'model' is missing or not text; write the name of a model") end
  local others = named.models ~= nil and value_of(text, named.models) or "[]"
  local listed = string.match(others, "^%[%s*(.-)%s*%]$")
  if not NOTHING[others] and listed ~= "" and listed ~= quoted then
    return bad(client, "models", "'models' asks for other models should the first one fail, which is not done here: leave it out")
  end
  local context = handle:filterContext()
  local names = serving(context, name, api)
  if #names == 0 then
    local elsewhere = look_up(context:get("models"), name) and " by this API" or ""
    return refuse(client, "404", REFUSED_UNKNOWN_MODEL, "invalid_request_error", "model_not_found", "model",
      "No provider serves this model" .. elsewhere .. "; GET /v1/models lists what is served.")
  end

  local metadata, groups = handle:streamInfo():dynamicMetadata(), {}
  local fallbacks = named.allow_fallbacks ~= nil and value_of(text, named.allow_fallbacks) or "null"
  if fallbacks ~= "true" and fallbacks ~= "null" then names = { names[1] } end
  for _, provider in ipairs(names) do
    for _ = 1, tonumber(context:get("tries")) do
      groups[#groups + 1] = { name = provider, clusters = { { cluster_name = provider, weight = 1 } } }
    end
  end
  if api ~= "OpenAIChat" then metadata:set(DECISION_METADATA, DECISION_API, api) end
  metadata:set(DECISION_METADATA, DECISION_MODEL, name)
  metadata:set(DECISION_METADATA, DECISION_EDITS, { [""] = splices_of(all) })
  if context:get("header_mode") then
    -- A list would promise attempts at others, which do not come: errors would be kept for them.
    handle:headers():replace(CLUSTER_HEADER, groups[1].name)
  else
    local streamed = named.stream ~= nil and value_of(text, named.stream) == "true"
    metadata:set(ROUTE_METADATA, ROUTE_GROUPS, groups)
    metadata:set(ROUTE_METADATA, ROUTE_TRIES, tonumber(context:get("tries")))
    metadata:set(ROUTE_METADATA, ROUTE_KEY, #groups .. context:get(streamed and "stream" or "whole"))
  end
  handle:clearRouteCache()
end
