-- For a request that announces neither a length nor chunks: by HTTP/2 that is usual, and whether it has a body at all is known only
-- here. Without one ext_proc would not be asked. Filter context: refusal = the body of the 400.

function envoy_on_request(handle)
  for _ in handle:bodyChunks() do return end
  handle:respond(
    {[":status"] = "400", ["content-type"] = "application/json", [DECISION_HEADER] = REFUSED_BAD_REQUEST},
    handle:filterContext():get("refusal")
  )
end
