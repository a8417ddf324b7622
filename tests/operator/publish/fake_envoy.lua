-- What Envoy gives a program for the answer of an attempt, as far as ours use it. `chunks` is changed in place.

local values_of = setmetatable({}, { __mode = "k" })
local plain_pairs = pairs

-- As Envoy's Lua has it, also of what is a map of Envoy's.
function pairs(of) return plain_pairs(values_of[of] or of) end

local function map(values)
  local made = {
    get = function(_, name) return values[name] end,
    getAtIndex = function(_, name, index) return index == 0 and values[name] or nil end,
    replace = function(_, name, value) values[name] = value end,
    remove = function(_, name) values[name] = nil end,
  }
  values_of[made] = values
  return made
end

local function buffer(chunks, number)
  return {
    length = function() return #chunks[number] end,
    getBytes = function(_, from, length)
      assert(length > 0 or #chunks[number] == 0, "an empty piece")
      assert(from + length <= #chunks[number], "beyond the end")
      return string.sub(chunks[number], from + 1, from + length)
    end,
    setBytes = function(_, text) chunks[number] = text end,
  }
end

-- `passed` is called with each chunk when the program asks for the next one, as Envoy sends it on then.
function handle_of(headers, chunks, context, metadata, state, passed, now_ms)
  local info = {
    dynamicMetadata = function()
      return {
        get = function(_, namespace) return metadata[namespace] end,
        set = function(_, namespace, key, value)
          metadata[namespace] = metadata[namespace] or {}
          metadata[namespace][key] = value
        end,
      }
    end,
    filterState = function() return map(state) end,
  }
  return {
    headers = function() return map(headers) end,
    streamInfo = function() return info end,
    filterContext = function() return map(context) end,
    timestamp = function() return now_ms() end,
    body = function()
      local whole = table.concat(chunks)
      for number = #chunks, 1, -1 do chunks[number] = nil end
      if whole == "" then return nil end
      chunks[1] = whole
      return buffer(chunks, 1)
    end,
    bodyChunks = function()
      local number = 0
      return function()
        if number > 0 and number < #chunks then passed(number) end
        number = number + 1
        return chunks[number] and buffer(chunks, number)
      end
    end,
  }
end
