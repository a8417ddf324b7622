-- Load for `limpet bench latency`. Arguments: folder of bodies, how many there are, and then nothing, or the number of
-- the session before the first, with which every request is of the next session; and after how many these begin again.

local requests = {}
local index = 0
local session = nil
local sessions = nil
local MARK = "@session@"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

function init(args)
  session = tonumber(args[3])
  sessions = tonumber(args[4])
  local headers = {["content-type"] = "application/json", ["authorization"] = "Bearer lpk-of-the-benchmarks"}
  if session then headers["x-session-id"] = MARK end
  for number = 0, tonumber(args[2]) - 1 do
    local text = wrk.format("POST", nil, headers, read(args[1] .. "/" .. number .. ".json"))
    local from, to = text:find(MARK, 1, true)
    requests[#requests + 1] = session and {text:sub(1, from - 1), text:sub(to + 1)} or text
  end
end

function request()
  index = index % #requests + 1
  if not session then return requests[index] end
  session = (sessions and session % sessions or session) + 1
  return requests[index][1] .. session .. requests[index][2]
end

function done(summary, latency)
  local pairs_of_us_and_count = {}
  for i = 1, #latency do
    local us, count = latency(i)
    pairs_of_us_and_count[i] = string.format("[%d,%d]", us, count)
  end
  local errors = summary.errors
  print(string.format(
    '\nlimpet-bench {"requests":%d,"duration_us":%d,"socket_errors":%d,"bad_statuses":%d,"latency":[%s]}',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    table.concat(pairs_of_us_and_count, ",")))
end
