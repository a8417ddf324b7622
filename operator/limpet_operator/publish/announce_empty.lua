-- Says of a request without a body that it has none, where it announced neither a length nor chunks: only here is that
-- known, and ext_proc is called otherwise for the one or the other.

function envoy_on_request(handle)
  for _ in handle:bodyChunks() do return end
  handle:headers():replace("content-length", "0")
  handle:clearRouteCache()
end
