-- Runs before the router for requests that ext_proc has not decided, because it is away or has no catalog yet. It keeps
-- what must hold regardless: models go to providers that serve them, and Limpet's own fields are cut from the body.
--
-- filter context: models = a table of the providers of each in the order in which they are tried, with spaces between;
-- apis = a table of the APIs of each provider, with spaces around; attempts = how many of them are tried, and tries =
-- how often each; of_objects is set for requests that name no model; stream and whole = what follows the number of
-- attempts in the key of Envoy's route; header_mode is set where a header names the provider, keeps_objects if some
-- provider keeps any, keys_required where a worker has to have checked the client's key.

local MOST_PATH = 4096 -- as ext_proc has it
local OURS = { provider = true, allow_fallbacks = true, session_id = true, models = true }
local ONCE = { model = true, messages = true, provider = true, allow_fallbacks = true, session_id = true, models = true,
  input = true, previous_response_id = true, conversation = true }
local PINS = { "previous_response_id", "conversation" } -- fields of what lives at one provider
-- May be ignored here; all else in `provider` restricts the choice, which this program cannot enforce.
local WISHES = { order = true, sort = true, allow_fallbacks = true }
-- Items of Responses that may stand for those of an earlier one.
local ITEMS_BY_ID = { '"item_reference"', '"image_generation_call"', '"type"%s*:%s*"reasoning"', '"type"%s*:%s*null',
  '{%s*"id"%s*:%s*"[^"]*"%s*}' }
local NOTHING = { ["null"] = true, ["{}"] = true, ["[]"] = true, ['""'] = true }

-- Splices without Limpet's own members, each cut with one comma, so that the rest is still an object; and for the
-- model's name.
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
  local all = members_of(value)
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
    { [":status"] = status, ["content-type"] = "application/json", [DECISION_HEADER] = reason },
    head .. message .. tail)
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

-- Whether a body may name what lives at one provider, and may be another client's.
local function names_objects(text, api, keeps_objects)
  if not keeps_objects and api ~= "OpenAIResponses" then return false end
  if string.find(text, "\\u00[4-7]") then return true end -- so any name can be written
  local lower = string.lower(text)
  if api == "OpenAIResponses" then
    for _, item in ipairs(ITEMS_BY_ID) do
      if string.find(lower, item) then return true end
    end
  end
  for field in string.gmatch(keeps_objects and OBJECT_FIELDS or "", "%S+") do
    if string.find(lower, field, 1, true) then return true end
  end
  return false
end

function envoy_on_request(handle)
  local required = handle:filterContext():get("keys_required")
  if not required and handle:streamInfo():dynamicMetadata():get(DECISION_METADATA)[DECISION_MODEL] ~= nil then
    return
  end
  local headers = handle:headers()
  local path, in_path = asked(headers:get(":path"))
  local api = api_of(path) or ""
  local client = { handle = handle, anthropic = speaks_anthropic(path, headers:get("anthropic-version")) }
  if required then
    return refuse(client, "503", REFUSED_UNCHECKED, "server_error", "keys_unchecked", nil,
      "The client's key cannot be checked at present; send the request again in a few seconds.")
  end
  if string.lower(headers:get(DEBUG_KEPT) or "") == EXPLAIN_ALONE then
    return refuse(client, "503", REFUSED_DEBUG, "server_error", "no_worker", nil,
      "No worker is there to explain this, so nothing was sent; send it again in a few seconds.")
  end
  if #headers:get(":path") > MOST_PATH then
    return refuse(client, "414", REFUSED_BAD_REQUEST, "invalid_request_error", "long_path", nil,
      "The path is too long.")
  end
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
  local all, first = members_of(text)
  if all == nil and first == nil then
    return bad(client, nil, "the body is not a JSON object; send one with 'model' and what else its API asks for")
  end
  if names_objects(text, api, handle:filterContext():get("keeps_objects")) then
    return undecidable(client, nil, ": whose the objects are that this names is not known right now")
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
  local is_text = string.byte(quoted) == 34 and string_close(quoted, 1) == #quoted
  local name = is_text and unescaped(quoted) or nil
  if in_path ~= nil and in_path ~= name then
    return undecidable(client, "model", " for a model that stands in the path alone")
  end
  if name == nil then return bad(client, "model", "'model' is missing or not text; write the name of a model") end
  local others = named.models ~= nil and value_of(text, named.models) or "[]"
  local listed = string.match(others, "^%[%s*(.-)%s*%]$")
  if not NOTHING[others] and listed ~= "" and listed ~= quoted then
    return bad(client, "models",
      "'models' asks for other models should the first one fail, which is not done here: leave it out")
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
