-- Rewrites every attempt in its provider's cluster. Header changes of an earlier attempt survive into this one, so
-- path, host, content-length and all that a client sent are always set again; the body always starts as the client sent
-- it.
--
-- The lists for every provider, PASSED (names), PASSED_PREFIX and READING_QUERY, come before this program.
-- filter context: host, prefix (stands where the client wrote /v1), "prefix:API" = the same for an API that begins
-- elsewhere, "path:PATH" = where requests go that are translated, query (of the provider's URL), "passes:NAME" = a
-- header that this provider gets too, "own:NAME" = a header that was set for this provider before this program,
-- "query:NAME" = a parameter that it gets, "model:NAME" = the provider's name of the model as a JSON string, for each
-- model that is called differently there, "affinity_header" = a header in which it takes the name of a conversation,
-- "may_take_ms" = how long it may take for a whole answer.

local MOST_CONTEXTS = 1024
local contexts, known = {}, 0

-- The filter context of an attempt's provider, as a table. Envoy copies all of it whenever a program asks for it, so it
-- is kept, by the digest that comes with each attempt.
local function context_of(handle, headers)
  local digest = headers:get(CONTEXT_HEADER)
  if digest ~= nil and contexts[digest] ~= nil then return contexts[digest] end
  local context = {}
  for name, value in pairs(handle:filterContext()) do context[name] = value end
  if digest == nil then return context end
  if known == MOST_CONTEXTS then -- each change of a provider brings another
    contexts, known = {}, 0
  end
  contexts[digest], known = context, known + 1
  return context
end

-- Removes the headers that this provider may not see. `kept` has the client's values of those that not every attempt
-- sends alike.
local function choose_headers(headers, context, kept)
  local removed = {}
  for name in pairs(headers) do
    if not PASSED[name] and string.sub(name, 1, #PASSED_PREFIX) ~= PASSED_PREFIX
      and context["passes:" .. name] == nil and context["own:" .. name] == nil then
      removed[#removed + 1] = name
    end
  end
  for _, name in ipairs(removed) do headers:remove(name) end
  if kept == nil then return end
  for name, value in string.gmatch(kept, "([^ \n]+) ?([^\n]*)") do
    if context["own:" .. name] == nil and (PASSED[name] or context["passes:" .. name] ~= nil) then
      if value == "" then headers:remove(name) else headers:replace(name, value) end
    end
  end
end

-- The provider's own query, and those of the client's parameters that it may see and its URL does not set.
local function choose_query(own, context, sent, reads)
  local parts = { own }
  for parameter in string.gmatch(sent, "[^&]+") do
    local name = unescaped_url(string.match(parameter, "^[^=]*"))
    local passes = reads and READING_QUERY[name] or context["query:" .. name] ~= nil
    if passes and string.find("&" .. (own or ""), "&" .. name .. "=", 1, true) == nil then
      parts[#parts + 1] = parameter
    end
  end
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

-- Where the provider has what is asked for.
local function path_of(context, plain)
  local prefix = context["prefix:" .. (api_of(plain) or "")] or context.prefix
  return context["path:" .. plain] or prefix .. plain
end

local function rewrite(handle)
  local info = handle:streamInfo()
  local headers = handle:headers()
  local context = context_of(handle, headers)
  local state = info:filterState()
  local number = tonumber(headers:get("x-envoy-attempt-count") or "1")
  if number ~= 1 and not goes_on(handle, headers, number) then return end
  choose_headers(headers, context, state:get(HEADERS_STATE))
  local path, query = state:get(PATH_STATE), context.query
  if path == nil then -- a probe
    headers:replace(":path", state:get(PROBE_STATE) .. (query and "?" .. query or ""))
    headers:replace(":authority", context.host)
    return
  end
  local mark = string.find(path, "?", 1, true)
  if mark ~= nil or query ~= nil then
    local sent = mark ~= nil and string.sub(path, mark + 1) or ""
    query = choose_query(query, context, sent, headers:get(":method") ~= "POST")
  end
  local plain, before = asked(path), ""
  if context["path:" .. plain] ~= nil then -- not its own dialect
    before = UNTRANSLATED_PATH
    info:dynamicMetadata():set(TRANSLATION_METADATA, TRANSLATION_STATE, "")
  end
  headers:replace(":path", before .. path_of(context, plain) .. (query or ""))
  headers:replace(":authority", context.host)

  local decision = info:dynamicMetadata():get(DECISION_METADATA)
  local affinity_header, affinities = context.affinity_header, decision[DECISION_AFFINITY]
  local affinity = affinity_header and affinities and affinities[context.name]
  if affinity ~= nil and headers:get(affinity_header) == nil then headers:replace(affinity_header, affinity) end

  local splices = decision[DECISION_EDITS] or {}
  splices = splices[context.name] or splices[""] or {}
  local renamed = decision[DECISION_MODEL] ~= nil and context["model:" .. decision[DECISION_MODEL]] or nil
  local same = true
  for _, splice in ipairs(splices) do same = same and splice[3] == true and renamed == nil end
  if same then
    local length = state:get(LENGTH_STATE) or ""
    if length == "" then headers:remove("content-length") else headers:replace("content-length", length) end
    return
  end

  local body = handle:body() -- objects from before this line are invalid after it
  if body == nil then return end
  local pieces, at = {}, 0
  -- The rest is taken from the buffer piece by piece: a large body as one string would be another copy of it.
  local function keep(stop)
    if stop > at then pieces[#pieces + 1] = body:getBytes(at, stop - at) end
  end
  for _, splice in ipairs(splices) do
    local text = splice[3]
    if text == true then text = renamed end
    if text ~= nil then
      keep(splice[1])
      pieces[#pieces + 1] = text
      at = splice[1] + splice[2]
    end
  end
  keep(body:length())
  body:setBytes(table.concat(pieces))
  handle:headers():replace("content-length", tostring(body:length()))
end

-- If a program fails, Envoy sends the request on as it is: with the client's headers, and with what was set for another
-- provider.
function envoy_on_request(handle)
  local fine, why = pcall(rewrite, handle)
  if not fine then
    handle:logErr("a request could not be rewritten and was not sent; this is a bug in Limpet: " .. tostring(why))
    local head, tail = error_halves(is_for_anthropic(handle), "500", "server_error", "internal_error")
    handle:respond({ [":status"] = "500", ["content-type"] = "application/json" },
      head .. "The gateway could not prepare the request; it was not sent." .. tail)
  end
end
