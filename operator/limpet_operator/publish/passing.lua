-- Passes an answer on while it arrives: reads it, and gives the client of each part what rewrite.lua makes of it.
-- Nothing is held back but what a client cannot use yet: a line without its end, and of JSON and of longer lines
-- their first and last bytes.

local MOST_HELD = 1048576 -- bytes of a line without its end
local HELD_OF_JSON = 8192
local TAIL = 2560 -- bytes of a bad answer that are kept for what it says
local SOON_MS = 200 -- a first token that comes later after the head is noted
local NEVER_MS = 1800000 -- one that comes so late did not: the machine's clock was set

-- Notes how long a stream that had begun kept the client waiting for its first token.
local function note_first_token(handle, head_ms)
  local waited_ms = now_ms(handle) - head_ms
  if waited_ms >= SOON_MS and waited_ms < NEVER_MS then
    handle:streamInfo():dynamicMetadata():set(TRAIL_METADATA, TRAIL_FIRST_TOKEN_MS, waited_ms)
  end
end

-- The keys that an error must not show. The state is asked for here, as one from before a wait is not valid any more.
local function keys_sent(handle, sent) return keys_of(sent, handle:streamInfo():filterState():get(HEAD_STATE)) end

-- The same for one in an answer that passes.
local function keys_seen(seen)
  seen.keys = seen.keys or keys_sent(seen.handle, seen.sent)
  return seen.keys
end

-- A part of an answer as the client gets it, without keys where it is no answer: of an error, before the first part of
-- an answer, and of lines that have none, such as comments. nil stays nil if nothing changes.
local function without_keys_in(seen, text, lines)
  if seen.bad == nil and seen.answered then
    if lines == nil then return text end
    if not (string.find(lines, "^:") or string.find(lines, "[\r\n]:") or string.find(lines, "data:%s*[^%s{%[]")) then
      return text
    end
  end
  local before = text or lines
  local after = without_keys(before, keys_seen(seen))
  if seen.bad ~= nil and lines ~= nil then after = blanked(after, {}) end
  return after ~= before and after or text
end

-- Judges whole lines.
local function judge_lines(seen, text)
  if not seen.answered then seen.answered = is_answer(seen.api, text) end
  if seen.head_ms ~= nil and has_token(seen.api, text) then
    note_first_token(seen.handle, seen.head_ms)
    seen.head_ms = nil
  end
  if seen.bad == nil then
    local bad = bad_line(text)
    local at = bad ~= nil and string.find(text, bad, 1, true)
    if at then seen.bad = string.sub(text, at, at + LOOKED_AT) end
  elseif #seen.bad < TAIL then -- what follows the name of an event says what is the matter
    seen.bad = seen.bad .. text
  end
  if not seen.answered and #seen.last < TAIL then seen.last = seen.last .. text end
end

-- The next part of a line that is too long to be held as the client gets it: all but its end.
local function pass_long_line(seen, part)
  local text = without_keys_in(seen, seen.long.held .. part)
  local last = #text > 2 * HELD_OF_JSON and HELD_OF_JSON or #text
  seen.long.held = string.sub(text, -last)
  return string.sub(text, 1, #text - last)
end

-- The same for its first part, which has its model, if it is an event with one.
local function begin_long_line(seen, text)
  local changes, inner = {}, INNER[seen.api]
  local open = string.match(text, "^data:[ \t]*(){")
  if open ~= nil and inner ~= nil then open = member(text, open, inner) end
  seen.long = { held = "" }
  if is_object_at(text, open) then
    seen.long.level = inner ~= nil and 2 or 1
    seen.long.has_model, seen.long.has_usage = read_object(seen, changes, text, open)
  end
  return pass_long_line(seen, #changes > 0 and with_changes(text, changes) or text)
end

-- The same for its last part, which has its usage.
local function end_long_line(seen, part)
  local long, changes = seen.long, {}
  local text = without_keys_in(seen, long.held .. part)
  if long.level ~= nil and not long.has_usage then read_end(seen, changes, text, long.level, long.has_model) end
  seen.long = nil
  return #changes > 0 and with_changes(text, changes) or text
end

-- The next piece of a stream as the client gets it; nil if it is the same.
local function pass_lines(seen, piece)
  if seen.long ~= nil then
    local from, to = string.find(piece, "\r?[\r\n]")
    if from == nil then return pass_long_line(seen, piece) end
    local ended = end_long_line(seen, string.sub(piece, 1, from - 1)) .. string.sub(piece, from, to)
    local rest = string.sub(piece, to + 1)
    seen.within_event = true
    return ended .. (rest ~= "" and pass_lines(seen, rest) or rest)
  end
  local waiting = seen.waiting
  local last = string.byte(piece, -1)
  local ended = (last == 10 or last == 13) and #piece or string.match(piece, "^.*()[\r\n]")
  if ended == nil then
    waiting[#waiting + 1] = piece
    seen.waits = seen.waits + #piece
    if seen.waits <= MOST_HELD then return "" end
    local all = table.concat(waiting)
    seen.waiting, seen.waits = {}, 0
    judge_lines(seen, all)
    return begin_long_line(seen, all)
  end
  local all_whole = #waiting == 0 and ended == #piece
  waiting[#waiting + 1] = string.sub(piece, 1, ended)
  local text = table.concat(waiting)
  local rest = string.sub(piece, ended + 1)
  seen.waiting, seen.waits = rest ~= "" and { rest } or {}, #rest
  judge_lines(seen, text)
  local changed = without_keys_in(seen, lines_for_client(seen, text), text)
  -- Of an event that has gone in part the rest goes as well.
  if seen.hide then
    local blank = string.find(string.sub(text, -3), "\n\r?\n$") or string.find(text, "^\r?\n$")
    seen.within_event = not blank
  end
  if changed == nil and all_whole then return nil end
  return changed or text
end

-- What is left of a stream at its end.
local function end_lines(seen)
  if seen.long ~= nil then return end_long_line(seen, "") end
  local text = table.concat(seen.waiting)
  if text == "" then return "" end
  judge_lines(seen, text)
  return without_keys_in(seen, lines_for_client(seen, text), text) or text
end

-- The next piece of JSON as the client gets it. What may be a usage is kept in mind, should it not stand at the end.
local function pass_json(seen, piece)
  seen.answered = seen.answered or is_answer(seen.api, piece)
  if seen.head_bytes < LOOKED_AT then
    seen.head[#seen.head + 1] = piece
    seen.head_bytes = seen.head_bytes + #piece
  end
  local text = seen.held .. piece
  if #text <= 2 * HELD_OF_JSON then
    seen.held = text
    return ""
  end
  if not seen.head_read then
    local changes, open = {}, string.match(text, "^%s*(){")
    seen.head_read = true
    if error_in(string.sub(text, 1, LOOKED_AT)) ~= nil then seen.bad = string.sub(text, 1, LOOKED_AT) end
    if open ~= nil then seen.has_model, seen.has_usage = read_object(seen, changes, text, open) end
    text = #changes > 0 and with_changes(text, changes) or text
  end
  text = without_keys_in(seen, text)
  local at = usage_from(text, 1)
  if at ~= nil then seen.perhaps = string.sub(text, at + 7, at + 2055) end
  seen.held = string.sub(text, -HELD_OF_JSON)
  return string.sub(text, 1, -HELD_OF_JSON - 1)
end

local function end_json(seen)
  local changes, text = {}, seen.held
  seen.answered = seen.answered or is_answer(seen.api, text)
  local head = string.sub(table.concat(seen.head), 1, LOOKED_AT)
  if error_in(head) ~= nil then seen.bad = head end
  if not seen.head_read then
    return without_keys_in(seen, whole_for_client(seen, text), text) or text
  end
  text = without_keys_in(seen, text)
  if not seen.has_usage and not read_end(seen, changes, text, 1, seen.has_model) and seen.perhaps ~= nil then
    read_numbers(seen.numbers, seen.perhaps, string.find(seen.perhaps, "{", 1, true), "")
    note_usage(seen)
  end
  return #changes > 0 and with_changes(text, changes) or text
end

-- Judges an answer that passes to the client while it arrives: too late for another provider, but health and log learn
-- of it. A stream is judged line by line, JSON once its head has arrived.
local function watch(handle, number, status, seen, sent)
  seen.sent = sent
  seen.head_ms, seen.waiting, seen.waits, seen.last = now_ms(handle), {}, 0, ""
  seen.held, seen.head, seen.head_bytes = "", {}, 0
  local json, chunk, left = nil, nil, ""
  for each in handle:bodyChunks() do
    chunk = each
    local length = chunk:length()
    if length > 0 then
      local piece = chunk:getBytes(0, length)
      if json == nil and string.find(piece, "%S") then json = is_json(piece) end
      local passed
      if json == false then passed = pass_lines(seen, piece) elseif json then passed = pass_json(seen, piece) end
      left = passed or piece
      if passed ~= nil then chunk:setBytes(passed) end
    else
      left = ""
    end
  end
  local rest = json == false and end_lines(seen) or json and end_json(seen) or ""
  if rest ~= "" then chunk:setBytes(left .. rest) end -- the last chunk passes once this program has ended
  if seen.bad ~= nil then
    local context = handle:filterContext()
    local cause = cause_in_answer(context:get("vendor"), error_in(seen.bad))
    note_attempt(handle, number, context:get("name"), status, cause, message_of(blanked(seen.bad, keys_seen(seen))))
  elseif not seen.answered then
    local said = json and seen.held or seen.last
    note_attempt(handle, number, handle:filterContext():get("name"), status, "NotAnAnswer", message_of(blanked(said, keys_seen(seen))))
  end
end

-- These read long texts: see interpreted.lua.
for _, reading in ipairs({
  judge_lines, pass_long_line, begin_long_line, end_long_line, pass_lines, end_lines, pass_json, end_json,
  without_keys_in,
}) do jit.on(reading, true) end
