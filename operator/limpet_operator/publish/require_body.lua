-- Refuses a request without a body that announced neither a length nor chunks, as is usual in HTTP/2: only here is it
-- known whether there is one, and ext_proc is not called without.
--
-- filter context: message of the 400.

function envoy_on_request(handle)
  local headers = handle:headers()
  local anthropic = speaks_anthropic(asked(headers:get(":path")), headers:get("anthropic-version"))
  for _ in handle:bodyChunks() do return end
  local head, tail = error_halves(anthropic, "400", "invalid_request_error", "empty_body")
  handle:respond(
    {[":status"] = "400", ["content-type"] = "application/json", [DECISION_HEADER] = REFUSED_BAD_REQUEST},
    head .. handle:filterContext():get("message") .. tail
  )
end
