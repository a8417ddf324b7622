-- Answers GET /v1/models and GET /v1/models/{id}.
--
-- filter context: models = a table of each as JSON; missing = the error for any other, with @ where its name stands; exposed = the
-- headers that a web page may read.

local function answer(handle, status, decision, body)
  handle:respond({
    [":status"] = status,
    ["content-type"] = "application/json",
    [DECISION_HEADER] = decision,
    ["access-control-allow-origin"] = handle:headers():get("origin"), -- a page that is not allowed has been refused before
    ["access-control-expose-headers"] = handle:filterContext():get("exposed"),
  }, body)
end

function envoy_on_request(handle)
  local context = handle:filterContext()
  local path = string.gsub(handle:headers():get(":path"), "[?].*", "")
  local asked = string.match(path, "/models/(.-)/?$") or ""
  if asked == "" then
    local listed = string.sub(string.gsub(context:get("models"), "\n=[^\n]*\n", ", "), 3)
    return answer(handle, "200", ANSWERED_MODELS, '{"object": "list", "data": [' .. listed .. "]}")
  end
  local name = string.gsub(asked, "%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  local found = look_up(context:get("models"), name)
  if found ~= nil then
    return answer(handle, "200", ANSWERED_MODELS, found)
  end
  local shown = string.gsub(string.sub(asked, 1, 200), '[^%w._~:/@%%-]', "?")
  local missing = string.gsub(context:get("missing"), "@", function() return shown end, 1)
  answer(handle, "404", REFUSED_UNKNOWN_MODEL, missing)
end
