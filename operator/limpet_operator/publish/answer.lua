-- Looks at every attempt's answer before the router does: what is no answer gets a status that Envoy tries elsewhere, and the
-- next of the order is told by writing the rest of the route's list anew. A good answer costs one look and no metadata.
--
-- Before this text stands RULES, a list of {status, find, cause, vendors}: lower-case words by which an error says more than its status
-- does. They are no part of the filter context, as Envoy copies all of that for every program that asks for it.
-- filter context: name and vendor of the provider.
-- limpet.route: priority_groups, the providers in their order; the one that is asked stands there `tries` times in a row, so that an
-- attempt which ends without an answer is made once more at the same provider. limpet.trail: under its number what each bad attempt
-- came to, for the access log. limpet.record: started_ms, when the decision was made.

local LOOKED_AT = 65536 -- bytes; a longer body is judged by its head alone, and as it passes
local TAIL = 2560 -- bytes of what has passed that are looked at with what follows
local LONGEST_LINE = 16384 -- bytes of a line of a stream; of a longer one the end is looked at

-- Statuses by which the provider's own error may reach the client; any other becomes `status`.
local CLIENTS_TOO = { ["400"] = true, ["403"] = true, ["413"] = true, ["422"] = true, ["429"] = true }

-- own: at the end the client gets the provider's own answer, else `status` and words of ours. next: another may do better.
local AFTER = {
  CredentialRefused = { verdict = "failed", next = true, status = "503" },
  NoCredit = { verdict = "failed", next = true, status = "503" },
  Forbidden = { verdict = "failed", next = true, status = "503" },
  ModelNotFound = { verdict = "failed", next = true, status = "503" },
  UnusableStatus = { verdict = "failed", next = true, status = "502" },
  Redirected = { verdict = "failed", next = true, status = "502" },
  NotAnAnswer = { verdict = "failed", next = true, status = "502" },
  ErrorInAnswer = { verdict = "failed", next = true, status = "502" },
  Unreachable = { verdict = "failed", next = true, own = true },
  ServerError = { verdict = "failed", next = true, own = true },
  Overloaded = { verdict = "failed", next = true, own = true },
  Limited = { verdict = "failed", next = true, own = true },
  TooLarge = { verdict = "refused", next = true, own = true },
  ContentRefused = { verdict = "refused", next = true, own = true },
  BadRequest = { verdict = "refused", own = true },
}

local BY_STATUS = {
  ["400"] = "BadRequest",
  ["401"] = "CredentialRefused",
  ["402"] = "NoCredit",
  ["403"] = "Forbidden",
  ["404"] = "ModelNotFound",
  ["406"] = "BadRequest",
  ["408"] = "ServerError",
  ["410"] = "ModelNotFound",
  ["411"] = "BadRequest",
  ["413"] = "TooLarge",
  ["414"] = "BadRequest",
  ["415"] = "BadRequest",
  ["422"] = "BadRequest",
  ["425"] = "Overloaded",
  ["429"] = "Limited",
  ["431"] = "BadRequest",
  ["498"] = "Overloaded",
  ["503"] = "Overloaded",
  ["529"] = "Overloaded",
}

local function cause_of(status)
  local known = BY_STATUS[status]
  if known ~= nil then return known end
  local first = string.sub(status, 1, 1)
  if first == "3" then return "Redirected" end
  if first == "5" and #status == 3 then return "ServerError" end
  if first == "2" then return "NotAnAnswer" end
  return "UnusableStatus"
end

-- The provider's own words, as the access log may carry them.
local function words(text)
  local said = string.match(text, '"message"%s*:%s*"([^"]*)') or string.match(text, '"error"%s*:%s*"([^"]*)') or text
  return (string.gsub(string.sub(said, 1, 300), "[^\32-\126]+", " "))
end

local function note(handle, number, status, cause, said, retry_after)
  handle:streamInfo():dynamicMetadata():set(TRAIL_METADATA, number, {
    [TRAIL_PROVIDER] = handle:filterContext():get("name"),
    [TRAIL_STATUS] = status,
    [TRAIL_VERDICT] = AFTER[cause].verdict,
    [TRAIL_CAUSE] = cause,
    [TRAIL_MESSAGE] = said or "",
    -- A byte that is no text would cost the log entries of many requests.
    [TRAIL_RETRY_AFTER] = (string.gsub(string.sub(retry_after or "", 1, 64), "[^\32-\126]", "?")),
  })
end

local function now_ms(handle) return tonumber(tostring(handle:timestamp())) end

-- Makes attempt `number` the last one of its provider; false if no other follows in the route's list.
local function go_on(handle, number)
  local metadata = handle:streamInfo():dynamicMetadata()
  local route = metadata:get(ROUTE_METADATA)
  if route == nil or route[ROUTE_GROUPS] == nil then return true end
  local groups, following = route[ROUTE_GROUPS], number + 1
  while groups[following] ~= nil and groups[following]["name"] == groups[number]["name"] do following = following + 1 end
  if groups[following] == nil then return false end
  local list = {}
  for i = 1, number do list[i] = groups[i] end
  for i = following, #groups do list[#list + 1] = groups[i] end
  metadata:set(ROUTE_METADATA, ROUTE_GROUPS, list)
  return true
end

-- Called before each attempt but the first: a provider that is asked for the first time gets its further places in the list. All at
-- once they would cost every request, and nearly none needs them.
function take_places(handle, number)
  local metadata = handle:streamInfo():dynamicMetadata()
  local route = metadata:get(ROUTE_METADATA)
  local groups = route ~= nil and route[ROUTE_GROUPS]
  local tries = groups and route[ROUTE_TRIES] or 1
  if tries == 1 or groups[number] == nil then return end
  local name = groups[number]["name"]
  for _, neighbour in ipairs({ number - 1, number + 1 }) do
    if groups[neighbour] ~= nil and groups[neighbour]["name"] == name then return end
  end
  for _ = 2, tries do table.insert(groups, number, groups[number]) end
  metadata:set(ROUTE_METADATA, ROUTE_GROUPS, groups)
end

local function ours(provider, status, cause)
  local what = "No provider answered. The last one tried, " .. provider .. ", "
  if cause == "NotAnAnswer" or cause == "ErrorInAnswer" then
    what = what .. "answered " .. status .. " without a completion"
  else
    what = what .. "answered " .. status
  end
  return '{"error": {"message": "' .. what .. '.", "type": "server_error", "param": null, "code": "no_provider_available"}}'
end

-- Called before each attempt but the first: ends the request if the attempt before took all the time there was and said nothing. Its
-- provider may have done the work and bill it, so nobody else is asked; without `patience_ms` somebody is.
function waited_out(handle, patience_ms)
  if patience_ms == nil then return false end
  local metadata, now = handle:streamInfo():dynamicMetadata(), now_ms(handle)
  local since_ms = (metadata:get(TRAIL_METADATA) or {})[TRAIL_SILENT_SINCE_MS] or (metadata:get(RECORD_METADATA) or {})[RECORD_STARTED_MS]
  metadata:set(TRAIL_METADATA, TRAIL_SILENT_SINCE_MS, now)
  if since_ms == nil or now - since_ms < patience_ms then return false end
  metadata:set(TRAIL_METADATA, TRAIL_TIMEOUT, true)
  handle:respond(
    { [":status"] = "504", ["content-type"] = "application/json" },
    '{"error": {"message": "No answer began within ' .. patience_ms / 1000 .. ' s. The provider may have done the work all the '
      .. 'same, so no other was asked.", "type": "server_error", "param": null, "code": "provider_timeout"}}'
  )
  return true
end

local function refuse(handle, number, status, cause, text)
  local headers, after = handle:headers(), AFTER[cause]
  note(handle, number, status, cause, words(text), headers:get("retry-after"))
  handle:streamInfo():dynamicMetadata():set(TRAIL_METADATA, TRAIL_SILENT_SINCE_MS, now_ms(handle))
  if not (after.next and go_on(handle, number)) then
    -- For Envoy this ends all retries; the route takes it out of what the client gets.
    headers:replace("x-envoy-ratelimited", "true")
  end
  if after.own and (cause == "BadRequest" or CLIENTS_TOO[status] or string.sub(status, 1, 1) == "5") then return end
  headers:replace(":status", after.status or "503")
  headers:remove("location")
  headers:remove("www-authenticate")
  headers:remove("content-encoding")
  headers:remove("transfer-encoding")
  headers:replace("content-type", "application/json")
  return ours(handle:filterContext():get("name"), status, cause)
end

-- The beginning of an error's message. Some servers quote the request after it, and a client writes there what it likes.
local function beginning(lower)
  local said = string.match(lower, '"message"%s*:%s*"([^"]*)') or string.match(lower, '"error"%s*:%s*"([^"]*)')
    or (string.find(lower, "^%s*[{%[]") and "" or lower)
  local quoted = string.find(said, "[{%[`\\]") or #said + 1
  local quote = string.find(" " .. said, "[^%a]'") or #said + 1
  return string.sub(said, 1, math.min(quoted, quote) - 1)
end

-- What an error says of itself: its status, unless its words say more. Words that speak against a provider count as the whole of a
-- value, as codes are, or in the beginning of its message.
local function error_cause(vendor, status, text)
  if text ~= "" then
    local lower = string.lower(text)
    local said = beginning(lower)
    for _, rule in ipairs(RULES) do
      if string.find(rule.status, status, 1, true) and (rule.vendors == nil or rule.vendors[vendor]) then
        local found = string.find(said, rule.find, 1, true) or string.find(lower, '"' .. rule.find .. '"', 1, true)
        if found == nil and AFTER[rule.cause].verdict == "refused" then found = string.find(lower, rule.find, 1, true) end
        if found ~= nil then return rule.cause end
      end
    end
  end
  return cause_of(status)
end

-- Whether the value that begins at `at` says anything: some vendors send `"error": null`, "" or {} with every good answer, or an
-- object whose members are empty.
local function says_something(text, at)
  local first = string.sub(text, at, at)
  if first == '"' then return string.sub(text, at + 1, at + 1) ~= '"' end
  if first ~= "{" then return false end
  local object = string.match(text, "^%b{}", at)
  if object == nil then return true end
  return string.find(object, ':%s*"[^"]') ~= nil or string.find(object, ":%s*[1-9t-]") ~= nil
    or string.find(object, ":%s*[%[{]%s*[^%s%]}]") ~= nil
end

-- Whether the JSON object in `text` says that it is an error: as a whole, or one of its choices. What lies deeper is the answer's own:
-- arguments of a tool, what a tool of the vendor's came to.
local function tells_of_error(text)
  local depth, member, at = 0, nil, string.find(text, '["{}%[%]]')
  while at ~= nil do
    local byte, following = string.byte(text, at), at + 1
    if byte == 34 then
      local close = string.find(text, '["\\]', following)
      while close ~= nil and string.byte(text, close) == 92 do close = string.find(text, '["\\]', close + 2) end
      if close == nil then return false end
      local value = (depth == 1 or depth == 3) and string.match(text, "^%s*:%s*()", close + 1)
      if value then
        local key = string.sub(text, following, close - 1)
        if depth == 1 then member = key end
        if depth == 1 or member == "choices" then
          if key == "error" and says_something(text, value) then return true end
          if key == "finish_reason" and string.sub(text, value, value + 6) == '"error"' then return true end
        end
      end
      following = close + 1
    elseif byte == 123 or byte == 91 then
      depth = depth + 1
    else
      depth = depth - 1
    end
    at = string.find(text, '["{}%[%]]', following)
  end
  return false
end

-- The same of whole lines of a stream: the first that says so, or nil.
local function bad_line(text)
  if string.find(text, "error", 1, true) == nil then return nil end
  for line in string.gmatch(text, "[^\r\n]+") do
    if string.find(line, "^event:%s*error") then return line end
    if string.find(line, '"error"', 1, true) and string.find(line, "^data:") and tells_of_error(line) then return line end
  end
  return nil
end

local function is_json(text) return string.find(text, "^%s*[{%[]") ~= nil end

local function has_error(text)
  if not is_json(text) then return bad_line(text) ~= nil end
  return string.find(text, '"error"', 1, true) ~= nil and tells_of_error(text)
end

-- Spellings of cached tokens that Envoy's own filter does not read, and usage where it does not look.
local function note_usage(handle, text)
  local at
  local from = string.find(text, '"usage"', 1, true)
  while from ~= nil do
    if string.find(text, "^%s*:%s*{", from + 7) then at = from end
    from = string.find(text, '"usage"', from + 7, true)
  end
  if at == nil then return end
  local usage = string.sub(text, at, at + 2048)
  if string.find(usage, '"prompt_tokens_details"%s*:%s*{[^}]*"cached_tokens"%s*:%s*%d') then return end
  local numbers = {}
  for key, value in string.gmatch(usage, '"([%a_]+)"%s*:%s*(%d+)') do
    if numbers[key] == nil and #value < 16 then numbers[key] = tonumber(value) end
  end
  local cached = numbers["cached_tokens"]
    or numbers["num_cached_tokens"]
    or numbers["prompt_cache_hit_tokens"]
    or numbers["cache_read_input_tokens"]
  local prompt = numbers["prompt_tokens"] or numbers["input_tokens"]
  if prompt == nil then return end
  handle:streamInfo():dynamicMetadata():set(USAGE_METADATA, USAGE_TOKENS, {
    [USAGE_PROMPT] = prompt,
    [USAGE_OUTPUT] = numbers["completion_tokens"] or numbers["output_tokens"] or 0,
    [USAGE_CACHED] = cached,
  })
end

-- An answer that goes on to the client while it comes: too late for another provider, not for the truth about this one. A stream is
-- looked at line by line, JSON when its head is there.
local function watch(handle, number, status)
  local answered, bad, tail, json = false, nil, "", nil
  local head, held = {}, 0
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      local piece = chunk:getBytes(0, length)
      local text = tail .. piece
      answered = answered or string.find(text, '"choices"', 1, true) ~= nil
      -- A usage that two chunks share is read with the second one.
      if string.find(text, '"usage"', 1, true) then note_usage(handle, text) end
      if json == nil and string.find(text, "%S") then json = is_json(text) end
      if json and held < LOOKED_AT then
        head[#head + 1] = piece
        held = held + length
      end
      tail = string.sub(text, -TAIL)
      if json == false then
        local ended = string.find(text, "[\r\n][^\r\n]*$")
        if ended ~= nil then
          bad = bad or bad_line(string.sub(text, 1, ended))
          tail = string.sub(text, math.max(ended + 1, #text - LONGEST_LINE + 1))
        else
          tail = string.sub(text, -LONGEST_LINE)
        end
      end
    end
  end
  if json == false then
    bad = bad or bad_line(tail)
  elseif json then
    local text = string.sub(table.concat(head), 1, LOOKED_AT)
    if has_error(text) then bad = text end
  end
  if bad ~= nil then
    note(handle, number, status, "ErrorInAnswer", words(bad))
  elseif not answered then
    note(handle, number, status, "NotAnAnswer", words(tail))
  end
end

-- Without a body there is no place for words of ours.
local function replace_body(handle, body, text)
  if body ~= nil then body:setBytes(text) end
  handle:headers():replace("content-length", tostring(body and #text or 0))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local number, status = headers:get(ATTEMPT_HEADER), headers:get(":status")
  headers:remove(ATTEMPT_HEADER)
  number = tonumber(number) or 1
  local length = tonumber(headers:get("content-length") or "")
  local kind = headers:get("content-type") or ""

  if status ~= "200" and status ~= "201" then
    local body = handle:body(true)
    local text = body and body:getBytes(0, math.min(body:length(), LOOKED_AT)) or ""
    local words_of_ours = refuse(handle, number, status, error_cause(handle:filterContext():get("vendor"), status, text), text)
    if words_of_ours ~= nil then replace_body(handle, body, words_of_ours) end
    return
  end

  if headers:get("content-encoding") ~= nil then return end
  -- A page is held, whatever its length; some servers call every answer one.
  local html = string.find(kind, "text/html", 1, true) ~= nil
  if not html and (length == nil or length > LOOKED_AT) then
    watch(handle, number, status)
    return
  end
  local body = handle:body(true)
  local text = body and body:getBytes(0, body:length()) or ""
  local cause
  if (html and not is_json(text)) or string.find(text, '"choices"', 1, true) == nil then
    cause = has_error(text) and "ErrorInAnswer" or "NotAnAnswer"
  elseif has_error(text) then
    cause = "ErrorInAnswer"
  end
  if cause == nil then
    note_usage(handle, text)
    return
  end
  replace_body(handle, body, refuse(handle, number, status, cause, text))
end
