-- Refuses a request in the shape of the API that its client speaks.
--
-- filter context: status, reason, type and code of the error; message = its text, in which {method}, {path}, {origin}
-- and {host} stand for those of the request, {api} for the name by which a Provider lists what it asks for, {near} for
-- the nearest that is served, and {base} for advice on the base URL; allow = the methods of the path; exposed = the
-- headers that a web page may read, if it may read this; served = what there is, a line `METHOD /path` for each, of
-- which the nearest is named; unlisted and of_accounts = names of APIs that have a message of their own, with spaces
-- around.

local function shown(text) return quotable(string.sub(text or "", 1, 200)) end

-- The name of an API as Providers list it.
local function listed_name(plain)
  return is_at(plain, "/messages/batches") and MESSAGE_BATCHES or string.match(plain, "^/([^/]+)")
end

-- The message about an API that is known, and not served here; nil if there is none.
local function about_api(context, name)
  for _, why in ipairs({ "unlisted", "of_accounts" }) do
    if name and string.find(context:get(why) or "", " " .. name .. " ", 1, true) then
      return context:get(why .. "_message")
    end
  end
end

function envoy_on_request(handle)
  local context, headers = handle:filterContext(), handle:headers()
  local path = headers:get(":path") or ""
  local plain = asked(path)
  local name = listed_name(plain)
  local about = about_api(context, name)
  local near = context:get("served") and nearest(plain, context:get("served"), headers:get(":method"))
  local message = string.gsub(about or context:get("message"), "{(%l+)}", {
    method = shown(headers:get(":method")),
    path = shown(string.match(path, "^[^?]*")),
    origin = shown(headers:get("origin")),
    host = shown(headers:get(":authority")),
    api = shown(name),
    near = near and " Did you mean " .. string.gsub(near, " ", " /v1", 1) .. "?" or "",
    base = string.find(path, "^/+v1/") and ""
      or " The base_url should end in /v1, right after host and port; for Anthropic's SDKs it ends before that.",
  })
  local status, exposed = context:get("status"), context:get("exposed")
  local head, tail = error_halves(
    speaks_anthropic(plain, headers:get("anthropic-version")), status, context:get("type"), context:get("code"))
  handle:respond({
    [":status"] = status,
    ["content-type"] = "application/json",
    ["allow"] = context:get("allow"),
    [DECISION_HEADER] = context:get("reason"),
    -- A page that is not allowed has been refused before.
    ["access-control-allow-origin"] = exposed and headers:get("origin"),
    ["access-control-expose-headers"] = exposed,
  }, head .. message .. tail)
end
