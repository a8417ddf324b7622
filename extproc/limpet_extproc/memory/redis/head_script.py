"""The part of the script that changes heads in Redis: the rules of `head_table.table_changed`, where the table is."""

from typing import Final

from limpet_extproc.memory import PENDING_S
from limpet_extproc.memory.head_table import MOST_FIRST_TURNS, MOST_ROWS
from limpet_extproc.memory.redis.layout import VERSION

HEAD_SCRIPT: Final = f"""
if first[1] == 'he' or first[1] == 'hn' or first[1] == 'hd' then
  local rows, now, over_s = {{}}, false, 0
  local value = unpacked(found)
  if value and are_rows(value[2]) then
    rows = value[2]
  end
  local function known(row)
    return row[3] > now or (row[4] > 0 and row[4] + {PENDING_S:.0f} > now)
  end
  for _, argument in ipairs(ARGV) do
    local change = cmsgpack.unpack(argument)
    local kind, provider = change[1], change[3]
    if kind ~= 'hd' then
      now = change[4]
    end
    for _, hash in ipairs(change[2]) do
      local place, before = #rows + 1, {{hash, provider, 0, 0, 0}}
      for at, row in ipairs(rows) do
        if row[1] == hash and row[2] == provider then
          place, before = at, table.remove(rows, at)
          break
        end
      end
      if kind == 'he' then
        before[4] = known(before) and before[4] or now
        before[5] = math.min(before[5] + 1, {MOST_FIRST_TURNS})
      elseif kind == 'hn' then
        before[3], before[4] = math.max(before[3], change[5]), 0
      else
        before[4] = 0
      end
      if kind ~= 'hd' then
        rows[#rows + 1] = before
      elseif before[3] > 0 then
        table.insert(rows, place, before)
      end
    end
    if kind ~= 'hd' then
      local kept = {{}}
      for _, row in ipairs(rows) do
        if known(row) then
          kept[#kept + 1] = row
        end
      end
      if #kept == 0 or #rows > {MOST_ROWS} then
        rows = kept
      end
      while #rows > {MOST_ROWS} do
        local least = 1
        for at, row in ipairs(rows) do
          if math.max(row[5], 1) < math.max(rows[least][5], 1) then
            least = at
          end
        end
        table.remove(rows, least)
      end
    end
  end
  for _, row in ipairs(now and rows or {{}}) do
    over_s = math.max(over_s, row[3] - now, row[4] > 0 and row[4] + {PENDING_S:.0f} - now or 0)
  end
  if #rows == 0 or (now and over_s <= 0) then
    redis.call('DEL', KEYS[1])
    return false
  end
  value = cmsgpack.pack({{{VERSION}, rows}})
  if now then
    redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.max(1, over_s * 1000)))
  else
    redis.call('SET', KEYS[1], value, 'KEEPTTL')
  end
  return value
end
"""
"""Run after `SHAPE_SCRIPT`, with `first`, the first of ARGV, and `found`, what the key holds or false.

It returns if that is a change of heads.
"""
