"""The part of the script that says whether a value has the shape that it is written in.

One of another shape counts as none, as `layout` reads it, so the next success writes over it. Were a part of it taken
over, each change would fail at it or write it again.
"""

from typing import Final

from limpet_extproc.memory.head_table import MOST_ROWS
from limpet_extproc.memory.redis.layout import HASH_CHARS, MOST_NUMBER, VERSION

SHAPE_SCRIPT: Final = f"""
local function unpacked(found)
  local readable, value = pcall(cmsgpack.unpack, found or '')
  return found and readable and type(value) == 'table' and value[1] == {VERSION} and value
end
local function is_number(each)
  return type(each) == 'number' and each > -{MOST_NUMBER:.0f} and each < {MOST_NUMBER:.0f}
end
local function is_list(value)
  local count = 0
  if type(value) ~= 'table' then
    return false
  end
  for _ in pairs(value) do
    count = count + 1
  end
  return count == #value
end
local function is_array(value, ...)
  local kinds = {{...}}
  if not is_list(value) or #value ~= #kinds then
    return false
  end
  for at, kind in ipairs(kinds) do
    if kind == 'count' then
      if not is_number(value[at]) or value[at] % 1 ~= 0 then
        return false
      end
    elseif kind == 'number' then
      if not is_number(value[at]) then
        return false
      end
    elseif type(value[at]) ~= kind then
      return false
    end
  end
  return true
end
local function are_rows(rows)
  if not is_list(rows) or #rows > {MOST_ROWS} then
    return false
  end
  for _, row in ipairs(rows) do
    if not (is_array(row, 'string', 'string', 'number', 'number', 'count')
        and #row[1] == {HASH_CHARS} and string.find(row[1], '^[%w%-_]+$')) then
      return false
    end
  end
  return true
end
local function are_places(places)
  if type(places) ~= 'table' then
    return false
  end
  for _, place in ipairs(places) do
    if not is_array(place, 'string', 'number', 'count', 'count') then
      return false
    end
  end
  return true
end
local function is_failure(failure)
  if not is_array(failure, 'number', 'table') then
    return false
  end
  for _, name in ipairs(failure[2]) do
    if type(name) ~= 'string' then
      return false
    end
  end
  return true
end
local function is_course(course)
  if type(course) ~= 'table' or type(course[2]) ~= 'string' or type(course[3]) ~= 'table'
      or not is_array(course[1], 'count', 'number', 'number', 'count', 'number', 'number', 'count') then
    return false
  end
  for at, chain in ipairs(course[3]) do
    if type(chain) ~= 'string' and not (at > 1 and is_number(chain) and chain % 1 == 0) then
      return false
    end
  end
  return true
end
local function is_conversation(value)
  return type(value[2]) == 'string' and is_number(value[3]) and are_places(value[4])
    and (value[5] == nil or is_failure(value[5])) and (value[6] == nil or is_course(value[6]))
end
"""
"""Run before all else: `unpacked` is a value of this version or false; the others look at what it holds."""
