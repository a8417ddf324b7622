-- The path that somebody who wrote another one may have meant. Pure.

local MOST_COMPARED = 64 -- characters: of two so long, comparing takes four thousand steps

-- How many characters have to be inserted, removed or replaced to make one of the other (Levenshtein).
local function distance(a, b)
  local before = {}
  for j = 0, #b do before[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local same = string.byte(a, i) == string.byte(b, j)
      row[j] = math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (same and 0 or 1))
    end
    before = row
  end
  return before[#b]
end

-- A path with {id}, with what stands there in another one.
local function with_id(candidate, path)
  local before, after = string.match(candidate, "^(.*/){id}(.*)$")
  if before == nil or string.sub(path, 1, #before) ~= before then return candidate end
  return before .. (string.match(path, "^[^/]+", #before + 1) or "{id}") .. after
end

-- Of the lines `METHOD /path`, the one whose path is nearest, of equal ones that with this method; nil if none is near.
local function nearest(path, lines, method)
  path = string.sub(string.lower(path), -MOST_COMPARED)
  local found, least = nil, nil
  for line, template in string.gmatch(lines, "(%u+ (%S+))") do
    local candidate = with_id(template, path)
    local steps = distance(path, candidate)
    if #path > #candidate and string.sub(path, -#candidate) == candidate then steps = 0 end
    local near = steps <= #candidate / 2
    if string.match(line, "^%u+") ~= method then steps = steps + 0.5 end
    if near and (least == nil or steps < least) then found, least = line, steps end
  end
  return found
end
