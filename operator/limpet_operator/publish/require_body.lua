-- Refuses a request without a body that announced neither a length nor chunks, as is usual in HTTP/2: only here is it known whether
-- there is one, and ext_proc is not called without.
--
-- filter context: refusal = the body of the 400.

function envoy_on_request(handle)
  for _ in handle:bodyChunks() do return end
  handle:respond(
    {[":status"] = "400", ["content-type"] = "application/json", [DECISION_HEADER] = REFUSED_BAD_REQUEST},
    handle:filterContext():get("refusal")
  )
end
