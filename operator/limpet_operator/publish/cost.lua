-- Tells a client what its answer cost, by the prices that came with the decision.

-- What the decision has for this provider; nil: nothing is to be shown, or its price is not known.
local function cost_basis(handle, decision)
  local costs = decision[DECISION_COST]
  return costs ~= nil and costs[handle:filterContext():get("name")] or nil
end

-- Of an answer whose tokens are not known when its headers leave.
local function show_expected_cost(handle, basis)
  handle:headers():replace(COST_HEADER, string.format("expected=%.8f", basis[1]))
end

-- Of an answer that is held. `basis`: what was expected, then for each length of the prompt, ascending, the least
-- length, and the prices of input, reads, writes, long writes and output per million tokens.
local function show_cost(handle, basis, tokens)
  if tokens == nil or tokens[USAGE_PROMPT] == nil then return end
  local prompt, at = tokens[USAGE_PROMPT], 2
  while basis[at + 6] ~= nil and prompt > basis[at + 6] do at = at + 6 end
  local input, read, write = basis[at + 1], basis[at + 2], basis[at + 3]
  local cached, written = tokens[USAGE_CACHED] or 0, tokens[USAGE_WRITTEN] or 0
  local long = math.min(tokens[USAGE_WRITTEN_LONG] or 0, written)
  local rest = math.max(0, prompt - cached - written)
  local answer = (tokens[USAGE_OUTPUT] or 0) * basis[at + 5]
  local paid = (rest * input + cached * read + (written - long) * write + long * basis[at + 4] + answer) / 1e6
  local saved = (prompt * input + answer) / 1e6 - paid
  if math.abs(saved) < 5e-9 then saved = 0 end -- what is rounded to nothing has no sign
  local known = tokens[USAGE_CACHED] ~= nil
  handle:headers():replace(
    COST_HEADER,
    string.format("%s=%.8f, saved=%.8f", known and "paid" or "at_most", paid, known and saved or 0)
  )
end
