-- Notes what an answer made that lives in the provider's account: its own id, and those of what came with it.

local LONGEST_ID = 256
local MOST_IDS = 64 -- beside its own

-- Members of an object that name another which was made with it: OpenAI's and Mistral's batches, runs, uploads, jobs.
local MADE_WITH = {
  "output_file_id", "error_file_id", "output_file", "error_file", "thread_id", "file", "result_files",
}

local function id_at(text, at)
  local id = at and string.match(text, '^"([%w%p]-)"', at)
  return id ~= nil and id ~= "" and #id <= LONGEST_ID and id or nil
end

-- Notes the id that the value at `at` is, once.
local function note_id(seen, text, at)
  local id = id_at(text, at)
  if id == nil or seen.id ~= nil then return end
  seen.id = id
  seen.handle:streamInfo():dynamicMetadata():set(OBJECT_METADATA, OBJECT_ID, id)
end

-- Adds the id at `at` to `ids`: a text, an object that has one, or a list of these. `names`: members of an object that
-- hold one.
local function add_ids(ids, text, at, names)
  local byte = at and string.byte(text, at)
  if byte == 34 then
    if #ids < MOST_IDS then ids[#ids + 1] = id_at(text, at) end
  elseif byte == 123 then
    for _, name in ipairs(names) do add_ids(ids, text, (member(text, at, name)), {}) end
  elseif byte == 91 then
    local next_at = string.match(text, "^[%s,]*()", at + 1)
    while next_at ~= nil and #ids < MOST_IDS and string.find(text, '^["{]', next_at) do
      local stop = value_end(text, next_at)
      if stop == nil then return end
      add_ids(ids, text, next_at, names)
      next_at = string.match(text, "^[%s,]*()", stop + 1)
    end
  end
end

local function note_ids(seen, ids)
  if #ids > 0 then seen.handle:streamInfo():dynamicMetadata():set(OBJECT_METADATA, OBJECT_IDS, ids) end
end

-- Notes a response: its id, its items, which later requests may name, and that it goes on without its client.
local function note_response(seen, text, found)
  note_id(seen, text, found.id)
  if found.background ~= nil and string.find(text, "^true", found.background) then
    seen.handle:streamInfo():dynamicMetadata():set(OBJECT_METADATA, OBJECT_BACKGROUND, true)
  end
  local ids = {}
  add_ids(ids, text, found.output, { "id", "container_id" })
  note_ids(seen, ids)
end

-- Notes any other object, as far as the text has it. Returns whether that is all of it.
local function note_object(seen, text, open)
  local found, close = members(text, open)
  local ids = {}
  note_id(seen, text, found.id)
  for _, name in ipairs(MADE_WITH) do add_ids(ids, text, found[name], { "id" }) end
  note_ids(seen, ids)
  return close ~= nil
end
