-- The route's list of providers and the trail of attempts, as they change from attempt to attempt.
--
-- Route metadata: the provider that is being tried stands in the list `tries` times in a row, so that an attempt which ends without an
-- answer is made once more at the same provider. Trail metadata: under its number, how each bad attempt ended, for the access log.

local function note_attempt(handle, number, status, cause, message, retry_after)
  handle:streamInfo():dynamicMetadata():set(TRAIL_METADATA, number, {
    [TRAIL_PROVIDER] = handle:filterContext():get("name"),
    [TRAIL_STATUS] = status,
    [TRAIL_OUTCOME] = AFTER[cause].outcome,
    [TRAIL_CAUSE] = cause,
    [TRAIL_MESSAGE] = message or "",
    -- A byte that is not text would lose the log entries of many requests.
    [TRAIL_RETRY_AFTER] = (string.gsub(string.sub(retry_after or "", 1, 64), "[^\32-\126]", "?")),
  })
end

local function now_ms(handle) return tonumber(tostring(handle:timestamp())) end

-- Makes attempt `number` the last one of its provider; false if no other follows in the route's list.
local function skip_to_next(handle, number)
  local metadata = handle:streamInfo():dynamicMetadata()
  local route = metadata:get(ROUTE_METADATA)
  if route == nil or route[ROUTE_GROUPS] == nil then return true end
  local groups, following = route[ROUTE_GROUPS], number + 1
  while groups[following] ~= nil and groups[following]["name"] == groups[number]["name"] do following = following + 1 end
  if groups[following] == nil then return false end
  local list = {}
  for i = 1, number do list[i] = groups[i] end
  for i = following, #groups do list[#list + 1] = groups[i] end
  metadata:set(ROUTE_METADATA, ROUTE_GROUPS, list)
  return true
end

-- Called before each attempt but the first: a provider that is tried for the first time gets its further places in the list. In the list
-- from the start they would cost every request, and nearly none needs them.
local function add_retries(handle, number)
  local metadata = handle:streamInfo():dynamicMetadata()
  local route = metadata:get(ROUTE_METADATA)
  local groups = route ~= nil and route[ROUTE_GROUPS]
  local tries = groups and route[ROUTE_TRIES] or 1
  if tries == 1 or groups[number] == nil then return end
  local name = groups[number]["name"]
  for _, neighbour in ipairs({ number - 1, number + 1 }) do
    if groups[neighbour] ~= nil and groups[neighbour]["name"] == name then return end
  end
  for _ = 2, tries do table.insert(groups, number, groups[number]) end
  metadata:set(ROUTE_METADATA, ROUTE_GROUPS, groups)
end

-- Called before each attempt but the first: ends the request if the attempt before took all the time without an answer. Its provider may
-- have done the work and bill it, so no other is tried; without `wait_ms` another is.
local function is_out_of_time(handle, wait_ms)
  if wait_ms == nil then return false end
  local metadata, now = handle:streamInfo():dynamicMetadata(), now_ms(handle)
  local since_ms = (metadata:get(TRAIL_METADATA) or {})[TRAIL_SILENT_SINCE_MS] or (metadata:get(RECORD_METADATA) or {})[RECORD_STARTED_MS]
  metadata:set(TRAIL_METADATA, TRAIL_SILENT_SINCE_MS, now)
  if since_ms == nil or now - since_ms < wait_ms then return false end
  metadata:set(TRAIL_METADATA, TRAIL_TIMEOUT, true)
  handle:respond(
    { [":status"] = "504", ["content-type"] = "application/json" },
    '{"error": {"message": "No answer began within ' .. wait_ms / 1000 .. ' s. The provider may have done the work all the '
      .. 'same, so no other was asked.", "type": "server_error", "param": null, "code": "provider_timeout"}}'
  )
  return true
end
