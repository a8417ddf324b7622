-- The cause of an answer that is no completion, by its status and its text, and what follows from it.
--
-- RULES, a list of {status, find, cause, vendors}, comes before this program: lower-case words by which an error says
-- more than its status does. They are not part of the filter context, because Envoy copies all of that whenever a
-- program asks for it.

-- Statuses by which the provider's own error may reach the client; any other becomes `status`.
local CLIENTS_TOO = { ["400"] = true, ["403"] = true, ["413"] = true, ["422"] = true, ["429"] = true }

-- own: if no provider follows, the client gets the provider's own answer, else `status` and the gateway's error. next:
-- another provider may do better. rank: of several failures the client is told of the one with the lowest.
local AFTER = {
  BadRequest = { outcome = "refused", rank = 1, own = true },
  TooLarge = { outcome = "refused", rank = 1, next = true, own = true },
  ContentRefused = { outcome = "refused", rank = 1, next = true, own = true },
  Untranslated = { outcome = "refused", rank = 5, next = true, status = "503" },
  NotFound = { outcome = "refused", rank = 5, next = true, own = true },
  Limited = { outcome = "failed", rank = 2, next = true, own = true },
  Timeout = { outcome = "failed", rank = 3, next = true, status = "504" },
  CredentialRefused = { outcome = "failed", rank = 4, next = true, status = "502" },
  NoCredit = { outcome = "failed", rank = 4, next = true, status = "502" },
  Forbidden = { outcome = "failed", rank = 4, next = true, status = "502" },
  ModelNotFound = { outcome = "failed", rank = 5, next = true, status = "503" },
  PathNotFound = { outcome = "failed", rank = 5, next = true, status = "503" },
  UnusableStatus = { outcome = "failed", rank = 5, next = true, status = "502" },
  Redirected = { outcome = "failed", rank = 5, next = true, status = "502" },
  NotAnAnswer = { outcome = "failed", rank = 5, next = true, status = "502" },
  ErrorInAnswer = { outcome = "failed", rank = 5, next = true, status = "502" },
  Unreachable = { outcome = "failed", rank = 5, next = true, own = true },
  ServerError = { outcome = "failed", rank = 5, next = true, own = true },
  Overloaded = { outcome = "failed", rank = 5, next = true, own = true },
}

local BY_STATUS = {
  ["400"] = "BadRequest",
  ["401"] = "CredentialRefused",
  ["402"] = "NoCredit",
  ["403"] = "Forbidden",
  ["404"] = "NotFound",
  ["406"] = "BadRequest",
  ["408"] = "ServerError",
  ["410"] = "ModelNotFound",
  ["411"] = "BadRequest",
  ["413"] = "TooLarge",
  ["414"] = "BadRequest",
  ["415"] = "BadRequest",
  ["422"] = "BadRequest",
  ["425"] = "Overloaded",
  ["429"] = "Limited",
  ["431"] = "BadRequest",
  ["498"] = "Overloaded",
  ["529"] = "Overloaded",
}

local function cause_of(status)
  local cause = BY_STATUS[status]
  if cause ~= nil then return cause end
  local first = string.sub(status, 1, 1)
  if first == "3" then return "Redirected" end
  if first == "5" and #status == 3 then return "ServerError" end
  if first == "2" then return "NotAnAnswer" end
  return "UnusableStatus"
end

-- The beginning of an error's message. Some servers quote the request after it, which may hold anything.
local function beginning(lower)
  local message = string.match(lower, '"message"%s*:%s*"([^"]*)') or string.match(lower, '"error"%s*:%s*"([^"]*)')
    or (string.find(lower, "^%s*[{%[]") and "" or lower)
  local quoted = string.find(message, "[{%[`\\]") or #message + 1
  local quote = string.find(" " .. message, "[^%a]'") or #message + 1
  return string.sub(message, 1, math.min(quoted, quote) - 1)
end

-- What a page of HTML says. With 403 it comes from a firewall in front of the provider, which may have disliked one
-- prompt: it says nothing of our account. With 404 no API was there to answer.
local OF_PAGES = { ["403"] = "UnusableStatus", ["404"] = "PathNotFound" }

-- The status decides, unless the text says more. Words that blame the provider count only as the whole of a value, as
-- codes are, or in the beginning of the message.
local function error_cause(vendor, status, text)
  if OF_PAGES[status] ~= nil and string.find(text, "^%s*<") then return OF_PAGES[status] end
  if text ~= "" then
    local lower = string.lower(text)
    local message = beginning(lower)
    for _, rule in ipairs(RULES) do
      if string.find(rule.status, status, 1, true) and (rule.vendors == nil or rule.vendors[vendor]) then
        local found = string.find(lower, '"' .. rule.find .. '"', 1, true)
        if found == nil and not rule.whole then found = string.find(message, rule.find, 1, true) end
        if found == nil and AFTER[rule.cause].outcome == "refused" then
          found = string.find(lower, rule.find, 1, true)
        end
        if found ~= nil then return rule.cause end
      end
    end
  end
  if status == "404" and not string.find(text, "^%s*[{%[]") then return "PathNotFound" end
  return cause_of(status)
end

-- Causes that an error inside a 200 may have; any other blames this model at this provider, whatever it says of
-- accounts.
local IN_ANSWERS = { BadRequest = "400", TooLarge = "400", ContentRefused = "400", Limited = "429", Overloaded = "503" }

-- The cause of an error inside an answer that calls itself a success, by the status or the words in `stated`, and the
-- status that the client may learn it by.
local function cause_in_answer(vendor, stated)
  local named
  for _, key in ipairs({ "code", "status", "status_code", "http_code" }) do
    named = named or string.match(stated, '"' .. key .. '"%s*:%s*"?([45]%d%d)%f[^%d]')
  end
  named = named or string.match(stated, "HTTP_STATUS/([45]%d%d)%f[^%d]") -- a comment of Alibaba's streams
  local cause = error_cause(vendor, named or "200", stated)
  if IN_ANSWERS[cause] == nil then return "ErrorInAnswer", nil end
  local passes = cause == "BadRequest" or AFTER[cause].outcome ~= "refused" or CLIENTS_TOO[named]
  if named == nil or not passes then named = IN_ANSWERS[cause] end
  return cause, named
end
