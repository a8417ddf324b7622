-- Answers GET /v1/models and GET /v1/models/{id}, as OpenAI's API does or as Anthropic's.
--
-- filter context: models = a table of each as JSON of OpenAI's API; available = their names, or some of them; exposed =
-- the headers that a web page may read; keys_required is set where a worker has to have checked the client's key.

local function answer(handle, status, decision, body)
  handle:respond({
    [":status"] = status,
    ["content-type"] = "application/json",
    [DECISION_HEADER] = decision,
    -- A page that is not allowed has been refused before.
    ["access-control-allow-origin"] = handle:headers():get("origin"),
    ["access-control-expose-headers"] = handle:filterContext():get("exposed"),
  }, body)
end

-- The same as Anthropic describes a model; when it was made is not known.
local function as_anthropic(model)
  local id = string.match(model, '^{"id": (".-"), "object"')
  return '{"type": "model", "id": ' .. id .. ', "display_name": ' .. id .. ', "created_at": "1970-01-01T00:00:00Z"}', id
end

-- The value of a parameter of the query.
local function parameter(query, name)
  local value = string.match("&" .. query, "&" .. name .. "=([^&]*)")
  return value and unescaped_url(value)
end

-- A page of Anthropic's list: of at most `limit`, after or before one of them. Without a limit it is all that follow.
local function page(models, query)
  local ids, listed = {}, {}
  for name, model in string.gmatch(models, "\n=([^\n]*)\n([^\n]*)") do
    ids[#ids + 1] = unescaped_url(name)
    listed[#listed + 1] = model
  end
  local first, last = 1, #ids
  local after, before = parameter(query, "after_id"), parameter(query, "before_id")
  for n, name in ipairs(ids) do
    if name == after then first = n + 1 end
    if name == before then last = n - 1 end
  end
  local limit = math.max(tonumber(parameter(query, "limit")) or #ids, 1)
  local more = last - first + 1 > limit
  if more and before then first = last - limit + 1 elseif more then last = first + limit - 1 end
  local data, first_id, last_id = {}, "null", "null"
  for n = first, last do
    data[#data + 1], last_id = as_anthropic(listed[n])
    if n == first then first_id = last_id end
  end
  return '{"data": [' .. table.concat(data, ", ") .. '], "has_more": ' .. tostring(more) .. ', "first_id": ' .. first_id
    .. ', "last_id": ' .. last_id .. "}"
end

function envoy_on_request(handle)
  local context, headers = handle:filterContext(), handle:headers()
  local path, models, version = headers:get(":path"), context:get("models"), headers:get("anthropic-version")
  if context:get("keys_required")
    and handle:streamInfo():dynamicMetadata():get(DECISION_METADATA)[DECISION_CLIENT] ~= true then
    local head, tail = error_halves(version ~= nil, "503", "server_error", "keys_unchecked")
    return answer(handle, "503", REFUSED_UNCHECKED,
      head .. "The client's key cannot be checked at present; send the request again in a few seconds." .. tail)
  end
  local wanted = string.match(asked(path), "^/models/(.+)$")
  if wanted == nil then
    local query = string.match(path, "%?(.*)") or ""
    if version then return answer(handle, "200", ANSWERED_MODELS, page(models, query)) end
    local listed = string.sub(string.gsub(models, "\n=[^\n]*\n", ", "), 3)
    return answer(handle, "200", ANSWERED_MODELS, '{"object": "list", "data": [' .. listed .. "]}")
  end
  local found = look_up(models, unescaped_url(wanted))
  if found ~= nil then return answer(handle, "200", ANSWERED_MODELS, version and as_anthropic(found) or found) end
  local head, tail = error_halves(version ~= nil, "404", "invalid_request_error", "model_not_found", "model")
  local shown = string.gsub(string.sub(wanted, 1, 200), "[^%w._~:/@%%-]", "?")
  local message = "The model '" .. shown .. "' is not served here. Available models: "
    .. context:get("available") .. "."
  answer(handle, "404", REFUSED_UNKNOWN_MODEL, head .. message .. tail)
end
