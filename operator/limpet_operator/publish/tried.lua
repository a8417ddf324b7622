-- What came of each provider that was tried, and the error that the client gets if all of them fail: not the last one,
-- but the one that says most (`rank` in causes.lua). It is kept in the trail, because the last attempt may end without
-- an answer: then Envoy writes the error, with these texts (local_replies.py).

local MOST_KEPT = 4096 -- bytes of a provider's error that are kept for the client; of a longer one only its message is

-- `tried` and what came of one provider more; it takes the place of what came of the same one just before.
local function with_outcome(tried, name, outcome)
  local before = #tried - #(string.match(tried, "[^,]*, $") or "")
  if string.match(tried, "^ ?(%S+)", before + 1) == name then
    tried = string.sub(tried, 1, before) .. (before > 0 and " " or "")
  end
  return tried .. name .. " " .. outcome .. ", "
end

-- As people read it.
local function listed(tried) return string.sub(tried, 1, -3) end

-- An error, cut where its message ends, with the list at that place.
local function with_tried(tried, head, tail) return head .. " (" .. listed(tried) .. ")" .. tail end

local WORDS = {
  BadRequest = { "invalid_request_error", "bad_request" },
  TooLarge = { "invalid_request_error", "request_too_large" },
  ContentRefused = { "invalid_request_error", "content_refused" },
  NotFound = { "invalid_request_error", "not_found" },
  Limited = { "rate_limit_error", "rate_limit_exceeded" },
  Timeout = { "server_error", "provider_timeout" },
  CredentialRefused = { "server_error", "provider_credential_refused" },
  NoCredit = { "server_error", "provider_credential_refused" },
  Forbidden = { "server_error", "provider_credential_refused" },
}
local NO_WORDS = { "server_error", "no_provider_available" }

-- Whether the client speaks Anthropic's API.
local function is_for_anthropic(handle)
  local api = (handle:streamInfo():dynamicMetadata():get(DECISION_METADATA) or {})[DECISION_API]
  return api == "AnthropicMessages" or api == MESSAGE_BATCHES
end

-- Whether this attempt's provider does not speak the client's API.
local function is_translated(handle)
  local decision = handle:streamInfo():dynamicMetadata():get(DECISION_METADATA) or {}
  return decision[DECISION_API] == nil and handle:filterContext():get("path:/chat/completions") ~= nil
end

-- An error of the client's API, cut where its message ends.
local function pieces(handle, status, message, cause)
  local words = WORDS[cause] or NO_WORDS
  local head, tail = error_halves(is_for_anthropic(handle), status, words[1], words[2])
  return head .. message, tail
end

-- Whether it is UTF-8: one byte that is not would lose the log entries of many requests.
local function is_utf8(text)
  if not string.find(text, "[%z\128-\255]") then return true end
  for _, character in ipairs({
    "[\194-\223][\128-\191]", "\224[\160-\191][\128-\191]", "[\225-\236\238\239][\128-\191][\128-\191]",
    "\237[\128-\159][\128-\191]", "\240[\144-\191][\128-\191][\128-\191]",
    "[\241-\243][\128-\191][\128-\191][\128-\191]", "\244[\128-\143][\128-\191][\128-\191]",
  }) do
    text = string.gsub(text, character, " ")
  end
  return not string.find(text, "[%z\128-\255]")
end

-- Whether an error is in the shape of the client's API, and need not be put into it. OpenAI's is told by nothing.
local function is_clients_shape(handle, text)
  return not is_for_anthropic(handle) or string.find(text, '^%s*{.*"type"%s*:%s*"error"') ~= nil
end

-- Whether a provider's error may reach the client as it came.
local function passes_as_is(handle, cause, text)
  return is_clients_shape(handle, text) and (cause == "BadRequest" or is_json(text))
end

-- Where the message of a provider's own error begins and ends, which is text within a JSON string; nil if it has no
-- such place, or cannot be kept.
local function own_message(text)
  if #text > MOST_KEPT or not string.find(text, "^%s*{") or not is_utf8(text) then return nil end
  local error = string.match(text, '"error"%s*:%s*{()')
  local _, quote = string.find(text, '"message"%s*:%s*"', error or #text)
  if quote == nil then return nil end
  local close = quote
  repeat
    close = string.find(text, '["\\]', close + 1)
    if close == nil then return nil end
    local escaped = string.byte(text, close) == 92
    if escaped then close = close + 1 end
  until not escaped
  return quote + 1, close - 1
end

-- In the same place: the error that tells the client, with this status, of this answer. `name` is its provider.
local function error_pieces(handle, status, name, cause, text)
  local after = AFTER[cause]
  if after.own then
    local from, to = own_message(text)
    if from ~= nil and is_clients_shape(handle, text) and not is_translated(handle) then
      return string.sub(text, 1, to), string.sub(text, to + 1)
    end
    local message = from and string.sub(text, from, to)
      or string.gsub(string.gsub(message_of(text), "\\[nrt]", " "), '[\\"]', "'")
    return pieces(handle, status, message ~= "" and message or "The provider answered with an error.", cause)
  end
  if after.rank == 4 then
    local message = "The provider " .. name
      .. " refuses the gateway's own credential or account; ask whoever runs this gateway"
    return pieces(handle, status, message, cause)
  end
  if cause == "Untranslated" then
    return pieces(handle, status, "The gateway could not translate the request for its provider; try again", cause)
  end
  return pieces(handle, status, "No provider answered", cause)
end
