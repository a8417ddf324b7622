-- Finds errors in the text of an answer. Pure.

-- The message of an error, in characters that the access log may carry.
local function message_of(text)
  local message = string.match(text, '"message"%s*:%s*"([^"]*)') or string.match(text, '"error"%s*:%s*"([^"]*)') or text
  return (string.gsub(string.sub(message, 1, 300), "[^\32-\126]+", " "))
end

-- Whether the value that begins at `at` is more than empty: some vendors send `"error": null`, "" or {} with every good
-- answer, or an object whose members are empty.
local function has_content(text, at)
  local first = string.sub(text, at, at)
  if first == '"' then return string.sub(text, at + 1, at + 1) ~= '"' end
  if first ~= "{" then return false end
  local object = string.match(text, "^%b{}", at)
  if object == nil then return true end
  return string.find(object, ':%s*"[^"]') ~= nil or string.find(object, ":%s*[1-9t-]") ~= nil
    or string.find(object, ":%s*[%[{]%s*[^%s%]}]") ~= nil
end

-- The value of the error that the JSON object in `text` is: as a whole, in one of its choices or in the `response` of
-- an event; nil if it is none. What lies deeper belongs to the answer: arguments of a tool, the result of a vendor's
-- tool.
local function stated_error(text)
  local depth, member, calls_itself_one, at = 0, nil, false, string.find(text, '["{}%[%]]')
  while at ~= nil do
    local byte, following = string.byte(text, at), at + 1
    if byte == 34 then
      local close = string.find(text, '["\\]', following)
      while close ~= nil and string.byte(text, close) == 92 do close = string.find(text, '["\\]', close + 2) end
      if close == nil then return nil end
      local value = depth <= 3 and string.match(text, "^%s*:%s*()", close + 1)
      if value then
        local key = string.sub(text, following, close - 1)
        if depth == 1 then member = key end
        if depth == 1 or depth == 3 and member == "choices" or depth == 2 and member == "response" then
          if key == "error" and has_content(text, value) then
            local whole = string.match(text, '^"[^"]*"', value) or string.match(text, "^%b{}", value)
            return whole or string.sub(text, value)
          end
          if depth == 1 and key == "type" and string.find(text, '^"error"', value) then calls_itself_one = true end
          if key == "finish_reason" and string.sub(text, value, value + 6) == '"error"' then return '"error"' end
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
  return calls_itself_one and text or nil
end

-- The same for whole lines of a stream: the first that is an error, or nil.
local function bad_line(text)
  if string.find(text, "error", 1, true) == nil then return nil end
  for line in string.gmatch(text, "[^\r\n]+") do
    if string.find(line, "^event:%s*error") then return line end
    if string.find(line, '"error"', 1, true) and string.find(line, "^data:") and stated_error(line) then return line end
  end
  return nil
end

local function is_json(text) return string.find(text, "^%s*[{%[]") ~= nil end

-- The error that an answer is: its value, or of a named event what follows the name; nil if it is none.
local function error_in(text)
  if is_json(text) then return string.find(text, '"error"', 1, true) and stated_error(text) or nil end
  local line = bad_line(text)
  if line == nil or string.find(line, "^data:") then return line and stated_error(line) end
  return string.sub(text, (string.find(text, line, 1, true)))
end
