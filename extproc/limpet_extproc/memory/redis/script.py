"""The script that changes a conversation in Redis: the rules of `changes.changed`, where the value is."""

from typing import Final

from limpet_extproc.memory import FAILED_S, PENDING_S
from limpet_extproc.memory.objects import KEPT_S
from limpet_extproc.memory.redis.changes import SHOWN_S
from limpet_extproc.memory.redis.head_script import HEAD_SCRIPT
from limpet_extproc.memory.redis.layout import VERSION
from limpet_extproc.memory.redis.shape_script import SHAPE_SCRIPT
from limpet_extproc.memory.served import MOST_COUNTED

SCRIPT: Final = f"""
local pending, since, warm, failed_at, failed = '', 0, {{}}, 0, {{}}
local pace, cause = {{0, 0, 0, 0, 0, 0, 0}}, ''
{SHAPE_SCRIPT}
local found = redis.call('GET', KEYS[1])
local first = cmsgpack.unpack(ARGV[1])
if first[1] == 'p' then
  local place = unpacked(found)
  if place and type(place[2]) == 'string' and type(place[3]) == 'string' and place[3] ~= first[3] then
    return found
  end
  local value = cmsgpack.pack({{{VERSION}, first[2], first[3]}})
  redis.call('SET', KEYS[1], value, 'PX', '{KEPT_S * 1000:.0f}')
  return value
end
{HEAD_SCRIPT}
if found then
  local value = unpacked(found)
  if value and is_conversation(value) then
    pending, since, warm = value[2], value[3], value[4]
    if value[5] then
      failed_at, failed = value[5][1], value[5][2]
    end
    if value[6] then
      pace, cause = value[6][1], value[6][2]
      for index, each in ipairs(#warm == #value[6][3] and warm or {{}}) do
        each[5] = value[6][3][index]
        if type(each[5]) == 'number' then
          each[5] = string.sub(warm[1][5], 1, each[5])
        end
      end
    end
  else
    found = false
  end
end
local touched, now = false, false
local function go_on(turn)
  local counted = math.min(pace[1] + 1, {MOST_COUNTED})
  local output = pace[6] + (turn[3] - pace[6]) / counted
  local gap, gaps = turn[1] - pace[2], math.min(pace[1], {MOST_COUNTED})
  if pace[1] == 0 then
    pace = {{1, turn[1], 0, turn[2], 0, output, turn[5]}}
  elseif gap <= 0 then
    pace = {{pace[1] + 1, pace[2], pace[3], pace[4], pace[5], output, pace[7]}}
  else
    local longer, more = (gap - pace[3]) / gaps, (turn[2] - pace[4] - pace[5]) / gaps
    pace = {{pace[1] + 1, turn[1], pace[3] + longer, turn[2], pace[5] + more, output, pace[7]}}
  end
  cause = turn[4]
end
local function has(names, name)
  for _, each in ipairs(names) do
    if each == name then
      return true
    end
  end
  return false
end
local function leave(names)
  if has(names, pending) then
    pending, since, touched = '', 0, true
  end
  local kept = {{}}
  for _, other in ipairs(warm) do
    if has(names, other[1]) then
      touched = true
    else
      kept[#kept + 1] = other
    end
  end
  warm = kept
end
for _, argument in ipairs(ARGV) do
  local change = cmsgpack.unpack(argument)
  local kind = change[1]
  if kind == 'e' then
    if #warm == 0 then
      pending, since, now, touched = change[2], change[3], change[3], true
    end
  elseif kind == 'r' then
    now, touched = change[4], true
    local kept = {{change[2]}}
    for _, other in ipairs(warm) do
      if #kept < change[3] and other[1] ~= change[2][1] and other[2] > now then
        kept[#kept + 1] = other
      end
    end
    pending, since, warm, failed = '', 0, kept, {{}}
    if change[5] then
      go_on(change[5])
    end
  elseif kind == 'f' then
    leave({{change[2]}})
    local kept = {{}}
    for _, name in ipairs(failed) do
      if name == change[2] then
        touched = true
      else
        kept[#kept + 1] = name
      end
    end
    failed = kept
  elseif kind == 'w' then
    if pending == change[2] then
      pending, since, touched = '', 0, true
    end
  elseif kind == 'x' then
    leave(change[3])
    failed_at, failed, now, touched = change[2], change[3], change[2], true
  elseif kind == 'c' then
    local over = #warm + #failed > 0
    if pending ~= '' then
      over = change[2] - since > {PENDING_S:.0f}
    end
    for _, each in ipairs(warm) do
      over = over and each[2] <= change[2]
    end
    if pending == '' and #warm == 0 and #failed > 0 then
      over = change[2] - failed_at >= {FAILED_S:.0f}
    end
    if over then
      pending, since, warm, failed, touched = '', 0, {{}}, {{}}, true
    end
  end
end
if not touched then
  return found
end
if pending == '' and #warm == 0 and #failed == 0 and pace[1] == 0 then
  redis.call('DEL', KEYS[1])
  return false
end
local places, chains, chained = {{}}, {{}}, false
for index, each in ipairs(warm) do
  places[index], chains[index] = {{each[1], each[2], each[3], each[4]}}, each[5] or ''
  chained = chained or chains[index] ~= ''
end
for index = 2, #chains do
  local length = #chains[index]
  if string.sub(chains[1], 1, length) == chains[index] then
    chains[index] = length
  end
end
local value = {{{VERSION}, pending, since, places}}
if #failed > 0 then
  value[5] = {{failed_at, failed}}
end
if chained or pace[1] > 0 then
  value[5] = value[5] or {{0, {{}}}}
  value[6] = {{pace, cause, chains}}
end
value = cmsgpack.pack(value)
if now then
  local left = {PENDING_S:.0f}
  for index, each in ipairs(warm) do
    local longer = each[2] - now + {SHOWN_S:.0f}
    left = index == 1 and longer or math.max(left, longer)
  end
  redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.max(1, left * 1000)))
else
  redis.call('SET', KEYS[1], value, 'KEEPTTL')
end
return value
"""
"""Applies changes to one conversation, KEYS[1]; each of ARGV is one of them (`encode`). Returns its value afterwards.
If KEYS[1] is an object, the first of ARGV says where it lives, and the others are the same or somebody else's. If it is
a table of heads, all of ARGV are changes of heads.

Redis runs it as a whole, with nothing in between. A value of another version, or of another shape, counts as none and
is not returned.
"""
