-- How long a provider asks to be left alone. Pure, but for the clock that is passed in.

-- A longer one means a closed account; who calls again after a day learns what is the matter.
local LONGEST_WAIT_S = 86400
local MONTHS = {
  Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12,
}
local HTTP_DATE = "(%d%d?)[ -](%a%a%a)[ -](%d%d%d%d) (%d%d):(%d%d):(%d%d)"

-- Seconds since 1970 of a date as HTTP has it (RFC 9110 section 5.6.7); nil if it is none.
local function unix_s(date)
  local day, month, year, hour, minute, second = string.match(date, HTTP_DATE)
  month = MONTHS[month]
  if month == nil then return nil end
  -- Days since the 1st of March of the year 0: leap days then come last in a year.
  local from_march, years = (month + 9) % 12, tonumber(year) - (month < 3 and 1 or 0)
  local days = 365 * years + math.floor(years / 4) - math.floor(years / 100) + math.floor(years / 400)
    + math.floor((153 * from_march + 2) / 5) + tonumber(day) - 1 - 719468
  return ((days * 24 + tonumber(hour)) * 60 + tonumber(minute)) * 60 + tonumber(second)
end

-- What a provider asks for, as `retry-after` has it. Azure OpenAI also sends `retry-after-ms`, which OpenAI's own SDKs
-- read; here it counts where the other is missing. Of a header that came twice the first counts.
local function asked_wait(headers)
  local after = headers:getAtIndex("retry-after", 0)
  if after ~= nil then return after end
  local after_ms = string.match(headers:getAtIndex("retry-after-ms", 0) or "", "^%d+%.?%d*$")
  return after_ms and string.format("%.3f", tonumber(after_ms) / 1000) or nil
end

-- Whole seconds that it asks for, at most LONGEST_WAIT_S; nil if it says nothing of the kind. Then, whether it asked
-- for more.
local function wait_of(after, now_ms)
  local seconds
  if after ~= nil and string.find(after, "^%d+%.?%d*$") then
    seconds = tonumber(after)
  elseif after ~= nil and unix_s(after) ~= nil then
    seconds = math.max(0, unix_s(after) - now_ms / 1000)
  end
  if seconds == nil then return nil, false end
  return math.ceil(math.min(seconds, LONGEST_WAIT_S)), seconds > LONGEST_WAIT_S
end
