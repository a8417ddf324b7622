-- What makes an answer one, by the API that was asked, and what of it is a part of what the model says. Pure.

local LOOKED_AT = 65536 -- bytes; of a longer body only this much is judged, while it passes

-- Of JSON, whole or in an event of a stream, the names of members of which an answer has at least one. An API that is
-- absent here is answered by anything but an error or a page.
local MARKS = {
  OpenAIChat = { '"choices"' },
  OpenAIResponses = { '"object"', '"response"', '"response.' },
  AnthropicMessages = { '"content"', '"message_start"', '"input_tokens"' },
  completions = { '"choices"', '"content"' },
  embeddings = { '"data"', '"embedding"', '"embeddings"' },
  images = { '"data"', '"b64_json"' },
  moderations = { '"results"' },
  rerank = { '"results"', '"data"' },
}

-- What a part of a stream has that has a part of the answer, be it thought, said or the call of a tool.
local TOKENS = {
  OpenAIChat = { '"content"%s*:%s*"[^"]', '"reasoning[%a_]*"%s*:%s*"[^"]', '"arguments"', '"text"%s*:%s*"[^"]' },
  OpenAIResponses = { '"delta"%s*:%s*"[^"]' },
  AnthropicMessages = { '"text"%s*:%s*"[^"]', '"thinking"%s*:%s*"[^"]', '"partial_json"' },
}

-- Whether the request names what lives in one account: whatever comes with a success is its answer.
local function is_object(api, path)
  if string.find(OBJECT_APIS, " " .. api .. " ", 1, true) then return true end
  local rest = api == "OpenAIResponses" and string.match(path or "", "/responses/+([^/?]+)")
  return rest ~= nil and rest ~= false and rest ~= "input_tokens" and rest ~= "compact"
end

-- Whether an answer is passed on unread if its status is a success.
local function passes_unread(api, path) return api == "audio" or is_object(api, path) end

-- Whether a text, or a part of one, shows that it is an answer.
local function is_answer(api, text)
  local marks = MARKS[api]
  if marks == nil then return string.find(text, "%S") ~= nil end
  for _, mark in ipairs(marks) do
    if string.find(text, mark, 1, true) then return true end
  end
  return false
end

-- Whether a part of a stream has a part of what the model says.
local function has_token(api, text)
  for _, token in ipairs(TOKENS[api] or {}) do
    if string.find(text, token) then return true end
  end
  return false
end

-- These read long texts: see interpreted.lua.
for _, reading in ipairs({ has_token, is_answer }) do jit.on(reading, true) end
