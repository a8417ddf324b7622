-- Errors in the shape of the API that the client speaks. Pure.

-- Whether that is Anthropic's: by what the path asks for, and where it is no API's by the header that every client of
-- it sends.
local function speaks_anthropic(path, version)
  if is_at(path, "/messages") then return true end
  return version ~= nil and path ~= "/chat/completions" and not is_at(path, "/responses")
end

-- An error cut in two where its message stands, which is text within a JSON string. Type, code and param are OpenAI's;
-- Anthropic's type follows from the status.
local function error_halves(anthropic, status, kind, code, param)
  if anthropic then
    local own = string.match(ERROR_TYPES, " " .. status .. "=(%S+)")
    own = own or (string.sub(status, 1, 1) == "5" and "api_error" or "invalid_request_error")
    return '{"type": "error", "error": {"type": "' .. own .. '", "message": "', '"}}'
  end
  param = param and '"' .. param .. '"' or "null"
  return '{"error": {"message": "', '", "type": "' .. kind .. '", "param": ' .. param .. ', "code": "' .. code .. '"}}'
end

-- Text of a client's as it may stand within a JSON string.
local function quotable(text)
  text = string.gsub(string.gsub(text, "[%c\127-\255]", "?"), '[\\"]', "\\%0")
  return text
end
