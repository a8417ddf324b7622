-- Judges each attempt's answer before the router does. One that is no completion gets a status that Envoy retries, and
-- the route's list is rewritten so that the retry goes to the next provider. A good answer costs one look and no
-- metadata.
--
-- filter context: name and vendor of the provider.

-- The status by which the client may learn of this answer.
local function client_status(status, cause)
  if cause == "Limited" then return "429" end
  if cause == "TooLarge" and status == "429" then return "413" end -- it may never be tried again as it is
  local after = AFTER[cause]
  if after.own then
    local same = cause == "BadRequest" or cause == "NotFound" or CLIENTS_TOO[status] or string.sub(status, 1, 1) == "5"
    if same then return status end
  end
  return after.status or "503"
end

-- What came of this attempt, as the list of those who were tried has it.
local function outcome_of(status, stated, cause, asked, capped)
  if cause == "Untranslated" then return "not asked" end
  local outcome = status
  if stated ~= status then outcome = outcome .. " with an error " .. stated end
  if cause == "NotAnAnswer" or cause == "ErrorInAnswer" then outcome = outcome .. " without a completion" end
  if capped then
    local shown = string.gsub(string.sub(asked or "", 1, 40), "[^%w:. -]", "")
    outcome = outcome .. " with retry-after " .. shown .. " capped"
  end
  return outcome
end

-- Status and rank of the most telling error before this attempt; only the first three ranks and refused credentials are
-- kept.
local function best_before(trail)
  local status = trail[TRAIL_BEST_STATUS]
  if status == nil then return nil, 6 end
  if status == "429" then return status, AFTER.Limited.rank end
  if status == AFTER.CredentialRefused.status then return status, AFTER.CredentialRefused.rank end
  return status, 1
end

-- Whether another attempt follows; then sees to it that it is the right one.
local function another_follows(handle, number, cause, wait_s)
  if cause == "Limited" and wait_for_warm(handle, number, wait_s) then
    if wait_s > 0 then handle:headers():replace(WAIT_HEADER, tostring(wait_s)) end
    return true
  end
  return AFTER[cause].next and skip_to_next(handle, number)
end

-- Makes headers of an answer those of an error of ours.
local function as_our_error(headers, status)
  headers:replace(":status", status)
  for _, name in ipairs({ "location", "www-authenticate", "content-encoding", "transfer-encoding" }) do
    headers:remove(name)
  end
  headers:replace("content-type", "application/json")
end

-- Blanks keys in the headers of an error.
local function hide_in_headers(headers, keys)
  local changed = {}
  for name, value in pairs(headers) do
    local hidden = string.sub(name, 1, 1) ~= ":" and without_keys(value, keys) or value
    if hidden ~= value then changed[name] = hidden end
  end
  for name, value in pairs(changed) do headers:replace(name, value) end
end

-- Notes a bad answer and sees to it that the next provider is tried, or if none is left, that the client gets the most
-- telling error so far. Returns that error, or nil if this answer is it. `stated` is the status that its error names,
-- else its own; `keys` are those that must not be shown.
local function refuse(handle, number, status, stated, cause, text, keys)
  local headers, name = handle:headers(), handle:filterContext():get("name")
  local own, encoded = text, (headers:get("content-encoding") or "identity") ~= "identity"
  text = encoded and "" or blanked(text, keys)
  local metadata, asked = handle:streamInfo():dynamicMetadata(), asked_wait(headers)
  note_attempt(handle, number, name, status, cause, message_of(text), asked)
  local trail = metadata:get(TRAIL_METADATA)
  local wait_s, capped = wait_of(asked, now_ms(handle))
  local tried = with_outcome(trail[TRAIL_TRIED] or "", name, outcome_of(status, stated, cause, asked, capped))
  local least_s = tonumber(trail[TRAIL_LEAST_WAIT_S] or "")
  if cause == "Limited" and wait_s ~= nil then least_s = math.min(wait_s, least_s or wait_s) end
  local best, best_rank = best_before(trail)
  local is_best = AFTER[cause].rank <= best_rank

  if another_follows(handle, number, cause, wait_s) then
    metadata:set(TRAIL_METADATA, TRAIL_TRIED, tried)
    if least_s ~= nil then metadata:set(TRAIL_METADATA, TRAIL_LEAST_WAIT_S, tostring(least_s)) end
    if is_best and AFTER[cause].rank <= AFTER.CredentialRefused.rank then
      local head, tail = error_pieces(handle, client_status(stated, cause), name, cause, text)
      metadata:set(TRAIL_METADATA, TRAIL_BEST_STATUS, client_status(stated, cause))
      metadata:set(TRAIL_METADATA, TRAIL_BEST_HEAD, head)
      metadata:set(TRAIL_METADATA, TRAIL_BEST_TAIL, tail)
    end
    as_our_error(headers, "503")
    return with_tried(tried, pieces(handle, "503", "No provider answered", cause))
  end

  -- For Envoy this ends all retries; the route takes it out of what the client gets.
  headers:replace("x-envoy-ratelimited", "true")
  headers:replace(TRIED_HEADER, listed(tried))
  local final, final_s = is_best and client_status(stated, cause) or best, is_best and wait_s or nil
  if final == "429" then final_s = least_s end
  if final_s ~= nil then headers:replace("retry-after", tostring(final_s)) else headers:remove("retry-after") end
  if final_s == nil or final_s ~= wait_s then headers:remove("retry-after-ms") end
  local alone = trail[TRAIL_TRIED] == nil and not capped
  hide_in_headers(headers, keys)
  -- One that cannot be read may have keys in it.
  if is_best and alone and final == stated and not encoded and passes_as_is(handle, cause, text) then
    if stated ~= status then headers:replace(":status", stated) end
    if text == own or #own == LOOKED_AT then return nil end
    headers:remove("transfer-encoding")
    return text
  end
  local head, tail = trail[TRAIL_BEST_HEAD], trail[TRAIL_BEST_TAIL]
  if is_best then head, tail = error_pieces(handle, final, name, cause, text) end
  as_our_error(headers, final)
  return with_tried(tried, head, tail)
end

-- Without a body there is nothing to replace.
local function replace_body(handle, body, text)
  if body ~= nil then body:setBytes(text) end
  handle:headers():replace("content-length", tostring(body and #text or 0))
end

-- Whether a status is one of an answer. Objects come with others too: 202 for what was begun, 204 for what was deleted.
local function is_success(status, unread)
  return status == "200" or status == "201" or unread and string.sub(status, 1, 1) == "2"
end

-- Bytes of an answer of known length that is held for the sake of its cost. Envoy holds at most a MiB.
local HELD_FOR_COST = 524288

local OF_OBJECTS = { ModelNotFound = true, PathNotFound = true, NotFound = true, UnusableStatus = true }

-- The cause of an error. That an object is not there, or not in such a state, is no fault of its provider.
local function cause_of_error(handle, api, path, status, text)
  local cause = error_cause(handle:filterContext():get("vendor"), status, text)
  if OF_OBJECTS[cause] and string.sub(status, 1, 1) == "4" and is_object(api, path) then
    return "BadRequest"
  end
  return cause
end

-- Why this is what the provider says to a request that was not translated, with its status; nil if it was.
local function was_not_translated(handle)
  local state = (handle:streamInfo():dynamicMetadata():get(TRANSLATION_METADATA) or {})[TRANSLATION_STATE]
  if state == TRANSLATED then return nil end
  if state == TOO_LARGE then
    return "TooLarge", "413", "The request gets larger than this gateway takes when it is translated for its provider."
  end
  return "Untranslated", "503", "The request could not be translated."
end

-- Whether an answer is one that can be read: APIs that nobody here knows may send anything.
local function has_text(api, kind)
  if MARKS[api] ~= nil then return true end
  return string.find(kind, "json", 1, true) ~= nil or string.find(kind, "event-stream", 1, true) ~= nil
end

-- Notes an object, and what was made with it, while its answer passes.
local function watch_for_ids(handle, seen)
  local pieces, bytes, looked_at = {}, 0, 0
  local function found()
    local text = table.concat(pieces)
    local open = string.match(text, "^%s*(){")
    looked_at = bytes
    return open ~= nil and note_object(seen, text, open)
  end
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      pieces[#pieces + 1] = chunk:getBytes(0, length)
      bytes = bytes + length
      -- Whenever there is twice as much: so all that is looked at is at most twice what came.
      if bytes >= 2 * looked_at and found() or bytes > LOOKED_AT then return end
    end
  end
  if bytes > looked_at then found() end
end

-- A good answer that is held, as the client gets it; nil if nothing changes. A short stream may come with its length.
local function as_client_gets_it(seen, text)
  if is_json(text) then return whole_for_client(seen, text) end
  return lines_for_client(seen, text)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local number, words, sent = string.match(headers:get(ATTEMPT_HEADER) or "", "^(%d*)([^|]*)(.*)")
  local status = headers:get(":status")
  headers:remove(ATTEMPT_HEADER)
  local state = handle:streamInfo():filterState()
  if state:get(PROBE_STATE) ~= nil then return end -- a probe gets every answer as it came
  number = tonumber(number) or 1
  local length = tonumber(headers:get("content-length") or "")
  local kind = headers:get("content-type") or ""
  local decision = handle:streamInfo():dynamicMetadata():get(DECISION_METADATA) or {}
  local api, path = decision[DECISION_API] or "OpenAIChat", state:get(PATH_STATE)
  local unread = passes_unread(api, path)
  if string.find(words, " HEAD", 1, true) then return end -- it has no body

  if decision[DECISION_API] == nil and string.find(words, TRANSLATED_CHAT, 1, true) then
    local cause, own, why = was_not_translated(handle)
    if cause ~= nil then
      local body = handle:body(true)
      replace_body(handle, body, refuse(handle, number, own, own, cause, why, {}))
      return
    end
    -- What the client gets of it is translated after this, errors in Anthropic's shape included.
    api = "AnthropicMessages"
    headers:replace(TRANSLATE_HEADER, TRANSLATED)
  end

  if not is_success(status, unread) then
    await_text(handle, number, status)
    local body = handle:body(true)
    local text = body and body:getBytes(0, math.min(body:length(), LOOKED_AT)) or ""
    local cause = cause_of_error(handle, api, path, status, text)
    local keys = keys_sent(handle, sent)
    local replacement = refuse(handle, number, status, status, cause, text, keys)
    if replacement == nil and #text == LOOKED_AT then -- it passes whole
      local whole = body:getBytes(0, body:length())
      local hidden = without_keys(whole, keys)
      hidden = blanked(string.sub(hidden, 1, LOOKED_AT), {}) .. string.sub(hidden, LOOKED_AT + 1)
      if hidden ~= whole then replacement = hidden end
    end
    if replacement ~= nil then replace_body(handle, body, replacement) end
    return
  end

  local seen = seen_of(handle, api, decision, string.find(words, KEEPS_MODEL, 1, true))
  local is_json_type = string.find(kind, "json", 1, true) ~= nil
  if unread then
    if is_json_type and is_object(api, path) then watch_for_ids(handle, seen) end
    return
  end
  if headers:get("content-encoding") ~= nil then return end
  -- HTML is buffered whatever its length; some servers send every answer as text/html.
  local html = string.find(kind, "text/html", 1, true) ~= nil
  local basis = cost_basis(handle, decision)
  if not html and (length == nil or length > (basis and HELD_FOR_COST or LOOKED_AT)) then
    if not has_text(api, kind) then return end
    if basis ~= nil then show_expected_cost(handle, basis) end
    headers:remove("content-length") -- it may get longer
    watch(handle, number, status, seen, sent)
    return
  end
  local body = handle:body(true)
  local text = body and body:getBytes(0, body:length()) or ""
  local head = string.sub(text, 1, LOOKED_AT)
  local found, cause, stated = error_in(head), nil, nil
  if found ~= nil then
    cause, stated = cause_in_answer(handle:filterContext():get("vendor"), found)
  elseif (html and not is_json(text)) or not is_answer(api, text) then
    cause = "NotAnAnswer"
  else
    local changed = #text <= MOST_HELD and as_client_gets_it(seen, text) or nil
    if changed ~= nil then
      handle:headers():remove("transfer-encoding")
      replace_body(handle, body, changed)
    end
    if basis ~= nil then show_cost(handle, basis, seen.tokens) end
    return
  end
  local keys = keys_sent(handle, sent)
  local replacement = refuse(handle, number, status, stated or status, cause, head, keys)
  if replacement ~= nil then replace_body(handle, body, replacement) end
end
