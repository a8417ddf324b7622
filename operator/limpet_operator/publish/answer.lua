-- Judges each attempt's answer before the router does. One that is no completion gets a status that Envoy retries, and the route's list
-- is rewritten so that the retry goes to the next provider. A good answer costs one look and no metadata.
--
-- filter context: name and vendor of the provider.

local LOOKED_AT = 65536 -- bytes; of a longer body only this much is judged, while it passes
local TAIL = 2560 -- bytes of what has passed that are searched together with what follows
local LONGEST_LINE = 16384 -- bytes of a line of a stream; of a longer one only the end is searched

local function error_body(provider, status, cause)
  local what = "No provider answered. The last one tried, " .. provider .. ", "
  if cause == "NotAnAnswer" or cause == "ErrorInAnswer" then
    what = what .. "answered " .. status .. " without a completion"
  else
    what = what .. "answered " .. status
  end
  return '{"error": {"message": "' .. what .. '.", "type": "server_error", "param": null, "code": "no_provider_available"}}'
end

-- The body in place of the answer's, or nil if the answer passes as it is: so does every answer to a probe.
local function refuse(handle, number, status, cause, text)
  if handle:streamInfo():filterState():get(PROBE_STATE) ~= nil then return nil end
  local headers, after = handle:headers(), AFTER[cause]
  note_attempt(handle, number, status, cause, message_of(text), headers:get("retry-after"))
  handle:streamInfo():dynamicMetadata():set(TRAIL_METADATA, TRAIL_SILENT_SINCE_MS, now_ms(handle))
  if not (after.next and skip_to_next(handle, number)) then
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
  return error_body(handle:filterContext():get("name"), status, cause)
end

-- Notes cached tokens in spellings that Envoy's own filter does not read, and usage in places where it does not look.
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

-- Judges an answer that passes to the client while it arrives: too late for another provider, but health and log learn of it. A stream
-- is judged line by line, JSON once its head has arrived.
local function watch(handle, number, status)
  local answered, bad, tail, json = false, nil, "", nil
  local head, head_bytes = {}, 0
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      local piece = chunk:getBytes(0, length)
      local text = tail .. piece
      answered = answered or string.find(text, '"choices"', 1, true) ~= nil
      -- A usage that two chunks share is read with the second one.
      if string.find(text, '"usage"', 1, true) then note_usage(handle, text) end
      if json == nil and string.find(text, "%S") then json = is_json(text) end
      if json and head_bytes < LOOKED_AT then
        head[#head + 1] = piece
        head_bytes = head_bytes + length
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
    note_attempt(handle, number, status, "ErrorInAnswer", message_of(bad))
  elseif not answered then
    note_attempt(handle, number, status, "NotAnAnswer", message_of(tail))
  end
end

-- Without a body there is nothing to replace.
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
    local replacement = refuse(handle, number, status, error_cause(handle:filterContext():get("vendor"), status, text), text)
    if replacement ~= nil then replace_body(handle, body, replacement) end
    return
  end

  if headers:get("content-encoding") ~= nil then return end
  -- HTML is buffered whatever its length; some servers send every answer as text/html.
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
  local replacement = refuse(handle, number, status, cause, text)
  if replacement ~= nil then replace_body(handle, body, replacement) end
end
