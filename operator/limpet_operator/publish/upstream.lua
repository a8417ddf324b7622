-- Runs in every provider's cluster, on every attempt. Header changes of an earlier attempt survive into this one, so path, host
-- and content-length are always set anew; the body always starts as the client sent it.
--
-- filter context: host, prefix (stands where the client wrote /v1), "model:NAME" = the provider's name as a JSON string, for each
-- model that is called differently there, and renames = true if there is one.

-- Offset and length of the value of the top-level key "model", quotes included, and what is between them; nil if there is none.
-- Needed only when ext_proc was away and nobody has parsed the body.
local function find_model(text)
  local depth, i = 0, string.find(text, '["{}%[%]]')
  while i ~= nil do
    local c = string.byte(text, i)
    if c == 34 then
      local close = i + 1
      while true do
        close = string.find(text, '["\\]', close)
        if close == nil then return nil end
        if string.byte(text, close) == 34 then break end
        close = close + 2
      end
      if depth == 1 and string.sub(text, i, close) == '"model"' then
        local found, _, open, after = string.find(text, '^%s*:%s*()"[^"\\]*"()', close + 1)
        if found ~= nil then return open - 1, after - open, string.sub(text, open + 1, after - 2) end
      end
      i = close
    elseif c == 123 or c == 91 then
      depth = depth + 1
    else
      depth = depth - 1
    end
    i = string.find(text, '["{}%[%]]', i + 1)
  end
  return nil
end

function envoy_on_request(handle)
  local context = handle:filterContext()
  local info = handle:streamInfo()
  local headers = handle:headers()
  local state = info:filterState()
  headers:replace(":path", context:get("prefix") .. string.gsub(state:get("limpet.path"), "^/v1", "", 1))
  headers:replace(":authority", context:get("host"))

  local decision = info:dynamicMetadata():get("limpet.decision")
  local cuts, model_at, model_length, rename = {}, decision["model_at"], decision["model_length"], nil
  if decision["model"] ~= nil then
    rename = context:get("model:" .. decision["model"])
    cuts = decision["cuts"] or cuts
  end
  if #cuts == 0 and rename == nil and (decision["model"] ~= nil or context:get("renames") == nil) then
    headers:replace("content-length", state:get("limpet.length"))
    return
  end

  local body = handle:body() -- objects from before this line are invalid after it
  if body == nil then return end
  local text = body:getBytes(0, body:length())
  if decision["model"] == nil then
    local model
    model_at, model_length, model = find_model(text)
    if model ~= nil then rename = handle:filterContext():get("model:" .. model) end
  end

  local pieces, at = {}, 0
  local function splice(offset, length, replacement)
    pieces[#pieces + 1] = string.sub(text, at + 1, offset)
    pieces[#pieces + 1] = replacement
    at = offset + length
  end
  local renamed = rename == nil
  for _, cut in ipairs(cuts) do
    if not renamed and model_at < cut[1] then
      splice(model_at, model_length, rename)
      renamed = true
    end
    splice(cut[1], cut[2], "")
  end
  if not renamed then splice(model_at, model_length, rename) end
  pieces[#pieces + 1] = string.sub(text, at + 1)
  body:setBytes(table.concat(pieces))
  handle:headers():replace("content-length", tostring(body:length()))
end
