-- The route's list of providers and the trail of attempts, as they change from attempt to attempt.
--
-- Route metadata: the provider that is being tried stands in the list `tries` times in a row, so that an attempt which
-- ends without an answer is made once more at the same provider. Trail metadata: under its number, how each bad attempt
-- ended, for the access log.

local LONGEST_PAUSE = 1.5 -- times the seconds that Envoy is told: it adds up to half of them by chance

local function note_attempt(handle, number, name, status, cause, message, retry_after)
  handle:streamInfo():dynamicMetadata():set(TRAIL_METADATA, number, {
    [TRAIL_PROVIDER] = name,
    [TRAIL_STATUS] = status,
    [TRAIL_OUTCOME] = AFTER[cause].outcome,
    [TRAIL_CAUSE] = cause,
    [TRAIL_MESSAGE] = message or "",
    -- A byte that is not text would lose the log entries of many requests.
    [TRAIL_RETRY_AFTER] = (string.gsub(string.sub(retry_after or "", 1, 64), "[^\32-\126]", "?")),
  })
end

local function now_ms(handle) return tonumber(tostring(handle:timestamp())) end

-- The route's list and how many attempts its route makes; nil where a header names the one provider.
local function plan_of(metadata)
  local route = metadata:get(ROUTE_METADATA)
  if route == nil or route[ROUTE_GROUPS] == nil then return nil end
  return route[ROUTE_GROUPS], tonumber(string.match(route[ROUTE_KEY] or "", "^%d+")) or #route[ROUTE_GROUPS], route
end

-- The list with `number` as the last place of its provider; nil if no other follows.
local function without_places(groups, number)
  local following = number + 1
  while groups[following] ~= nil and groups[following]["name"] == groups[number]["name"] do
    following = following + 1
  end
  if groups[following] == nil then return nil end
  local list = {}
  for i = 1, number do list[i] = groups[i] end
  for i = following, #groups do list[#list + 1] = groups[i] end
  return list
end

-- Makes attempt `number` the last one of its provider; false if no other follows.
local function skip_to_next(handle, number)
  local metadata = handle:streamInfo():dynamicMetadata()
  local groups, attempts = plan_of(metadata)
  if groups == nil or groups[number] == nil or number >= attempts then return false end
  local list = without_places(groups, number)
  if list == nil then return false end
  metadata:set(ROUTE_METADATA, ROUTE_GROUPS, list)
  return true
end

-- Before the wait for an error's text, which may never come: then the attempt ends by its time limit, and the next one
-- is elsewhere.
local function await_text(handle, number, status)
  handle:streamInfo():dynamicMetadata():set(TRAIL_METADATA, TRAIL_AWAITED, number .. " " .. status)
  skip_to_next(handle, number)
end

-- Under SaveCache: makes the next attempt one more at the same provider, if that is the first one and the pause that it
-- asks for is sure to end within the bound; false if it is not to be waited for.
local function wait_for_warm(handle, number, wait_s)
  local metadata = handle:streamInfo():dynamicMetadata()
  local bound_s = metadata:get(DECISION_METADATA)[DECISION_SAVE_CACHE_S]
  if bound_s == nil or wait_s == nil or wait_s * LONGEST_PAUSE > bound_s then return false end
  local groups, attempts = plan_of(metadata)
  if groups == nil or groups[number] == nil or number >= attempts then return false end
  if groups[number]["name"] ~= groups[1]["name"] then return false end
  if (metadata:get(TRAIL_METADATA) or {})[TRAIL_WAITED] then return false end
  local list = without_places(groups, number) or groups
  table.insert(list, number, groups[number])
  metadata:set(ROUTE_METADATA, ROUTE_GROUPS, list)
  metadata:set(TRAIL_METADATA, TRAIL_WAITED, number)
  return true
end

-- Called before each attempt but the first: a provider that is tried for the first time gets its further places in the
-- list. In the list from the start they would cost every request, and nearly none needs them.
local function add_retries(metadata, number)
  local groups, _, route = plan_of(metadata)
  local tries = groups and route[ROUTE_TRIES] or 1
  if tries == 1 or groups[number] == nil then return end
  local name = groups[number]["name"]
  for _, neighbour in ipairs({ number - 1, number + 1 }) do
    if groups[neighbour] ~= nil and groups[neighbour]["name"] == name then return end
  end
  for _ = 2, tries do table.insert(groups, number, groups[number]) end
  metadata:set(ROUTE_METADATA, ROUTE_GROUPS, groups)
end

-- Digits of milliseconds: when this retry begins, counted from the request's beginning, and when the request had arrived.
-- A cluster of the version before says it in a header of its own, on every attempt.
local function times_of(headers)
  local told = string.match(headers:get(RETRY_HEADER) or "", " (.+)") or headers:get(ELAPSED_HEADER) or ""
  return string.match(told, "^(%d+) ?(%d*)")
end

-- Whether the attempt before ended because its provider took too long. Envoy says so of the limits that belong to a
-- route. Of the one for whole answers, which belongs to the provider, it does not: its time tells, by a clock that
-- nobody sets.
local function was_timeout(headers, route, trail, may_take_ms)
  if string.find(headers:get(RETRY_HEADER) or "", "^true") then return true end
  if may_take_ms == nil or not string.find(route[ROUTE_KEY] or "", "w", 1, true) then return false end
  local elapsed, received = times_of(headers)
  if elapsed == nil then return false end
  return tonumber(elapsed) - (trail[TRAIL_BEGAN_MS] or tonumber(received) or 0) >= may_take_ms
end

local function answer_timeout(handle, name, tried, trail)
  local status, head, tail = trail[TRAIL_BEST_STATUS], trail[TRAIL_BEST_HEAD], trail[TRAIL_BEST_TAIL]
  if status == nil or status == AFTER.CredentialRefused.status then
    status = AFTER.Timeout.status
    local message = "No answer began in time. The provider may have done the work all the same, so no other was asked"
    head, tail = pieces(handle, status, message, "Timeout")
  end
  handle:respond({
    [":status"] = status,
    ["content-type"] = "application/json",
    ["retry-after"] = status == "429" and trail[TRAIL_LEAST_WAIT_S] or nil,
    [PROVIDER_HEADER] = name,
    [TRIED_HEADER] = listed(tried),
  }, with_tried(tried, head, tail))
end

-- Called before each attempt but the first: notes what came of the one before, if it ended without an answer. After a
-- timeout no other provider is tried, unless the policy says so, because the one before may have done the work and bill
-- it: then it answers, and is false.
local function goes_on(handle, headers, number)
  local metadata, context = handle:streamInfo():dynamicMetadata(), handle:filterContext()
  local groups, _, route = plan_of(metadata)
  if groups == nil then return true end
  local trail, may_take_ms = metadata:get(TRAIL_METADATA) or {}, tonumber(context:get("may_take_ms"))
  local before = groups[number - 1] and groups[number - 1]["name"]
  if before ~= nil and trail[tostring(number - 1)] == nil then
    local status = string.match(trail[TRAIL_AWAITED] or "", "^" .. number - 1 .. " (.+)")
    local took_ms = trail[TRAIL_MAY_TAKE_MS]
      or (before == context:get("name") and may_take_ms or (metadata:get(DECISION_METADATA) or {})[DECISION_WAIT_MS])
    local timeout = was_timeout(headers, route, trail, took_ms)
    if status ~= nil then -- an error whose text did not come is no work that somebody bills
      metadata:set(TRAIL_METADATA, TRAIL_TRIED, with_outcome(trail[TRAIL_TRIED] or "", before, status))
      note_attempt(handle, number - 1, before, status, cause_of(status))
    elseif timeout or before ~= context:get("name") then
      local tried = with_outcome(trail[TRAIL_TRIED] or "", before, timeout and "timeout" or "no connection")
      if timeout and route[ROUTE_TRIES] ~= 1 then
        metadata:set(TRAIL_METADATA, TRAIL_TIMEOUT, true)
        answer_timeout(handle, before, tried, trail)
        return false
      end
      metadata:set(TRAIL_METADATA, TRAIL_TRIED, tried)
    end
    if timeout and status == nil then note_attempt(handle, number - 1, before, "", "Timeout") end
  end
  local began_ms = times_of(headers) or "0"
  metadata:set(TRAIL_METADATA, TRAIL_BEGAN_MS, tonumber(began_ms))
  metadata:set(TRAIL_METADATA, TRAIL_ALL_BEGAN_MS, (trail[TRAIL_ALL_BEGAN_MS] or "") .. began_ms .. " ")
  metadata:set(TRAIL_METADATA, TRAIL_MAY_TAKE_MS, may_take_ms)
  add_retries(metadata, number)
  return true
end
