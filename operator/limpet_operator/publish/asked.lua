-- What the path of a request asks for, however a client writes it; the same as `apis.asked` in Python. Pure.

local function without(path, part)
  local rest = string.sub(path, #part + 1)
  if string.sub(path, 1, #part) == part and (rest == "" or string.byte(rest) == 47) then return rest end
end

local function unescaped_url(text)
  return (string.gsub(text, "%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function without_versions(path)
  local shorter = without(path, "/v1")
  while shorter ~= nil do
    path, shorter = shorter, without(shorter, "/v1")
  end
  return path
end

-- The name of a deployment, which may have slashes where an API follows that is known; and what is asked of it.
local function deployment_of(path)
  local below = string.match(path, "^/openai/deployments/(.*)$")
  if below == nil then return nil end
  for api in string.gmatch(OF_DEPLOYMENTS, "%S+") do
    local model = string.sub(below, 1, -#api - 1)
    if model ~= "" and string.sub(below, -#api) == api then
      local shorter = string.match(model, "^(.+)/v1$")
      while shorter ~= nil do
        model, shorter = shorter, string.match(shorter, "^(.+)/v1$")
      end
      return model, api
    end
  end
  return string.match(below, "^([^/]+)(/.*)$")
end

-- What follows /v1, without the query; and the model, where it stands in the path.
local function asked(path)
  if path == "/v1/chat/completions" then return "/chat/completions" end
  local plain = string.gsub(string.gsub(string.match(path, "^[^?]*"), "//+", "/"), "/+$", "")
  local model, rest = deployment_of(plain)
  if model ~= nil then return without_versions(rest), unescaped_url(model) end
  return without_versions(without(plain, "/openai") or without(plain, "/anthropic") or plain)
end

-- Whether what is asked for is `api` or stands below it.
local function is_at(path, api) return path == api or string.sub(path, 1, #api + 1) == api .. "/" end

-- The name of the API that a path asks for, as `apis.Api` has it; of what is no path of one, its first part or nil.
local function api_of(path)
  if path == "/chat/completions" then return "OpenAIChat" end
  if is_at(path, "/responses") then return "OpenAIResponses" end
  if is_at(path, "/messages") then return "AnthropicMessages" end
  return string.match(path, "^/([^/]+)")
end
