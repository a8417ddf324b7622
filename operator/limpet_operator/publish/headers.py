"""Which headers of a request reach a provider, and which of its answer reach the client.

Towards providers it is a list of what passes: there is no complete list of the headers in which a CDN, an Ingress or a
login proxy reveals where a request came from and who sent it, or in which clients carry keys and accounts of their own.
Towards clients it is a list of what is removed: vendors send much that is useful (limits, request ids, times), and what
binds a browser or a proxy to the vendor's host is known from the standards.
"""

from collections.abc import Iterable
from typing import Final

from limpet_extproc.contract.envoy import OWN_HEADERS
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.encode import Json

CREDENTIAL_HEADERS: Final = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
"""Every header that a Provider's `credential.header` may name, and so every header that an attempt must not inherit."""

PASSED: Final = (
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "content-type",
    "http-referer",
    "idempotency-key",
    "openai-beta",
    "user-agent",
    "x-title",
)
"""The client's headers that every provider gets. A vendor's preset and `spec.headers` add to it."""
PASSED_PREFIX: Final = "x-stainless-"
"""Prefix of the headers in which the vendors' SDKs describe themselves."""
_OFTEN: Final = (
    "lang",
    "package-version",
    "os",
    "arch",
    "runtime",
    "runtime-version",
    "async",
    "retry-count",
    "read-timeout",
)
"""What follows it in nearly every request: a name in the table is found faster than a prefix is compared."""

_READING_QUERY: Final = (
    *("after", "after_id", "before", "before_id", "limit", "order", "purpose"),
    *("include", "include[]", "include_obfuscation", "starting_after", "stream"),
)
"""Parameters of the client's query that every provider gets where something is read: by these the vendors' APIs select
and sort. A Provider's preset and `spec.query` add others, whatever is asked for."""

_OWN: Final = (":authority", ":method", ":path", ":scheme", "content-length")
"""Envoy's own, without which it is no request."""

ENDS_HERE_EARLY: Final = ("x-envoy-", OWN_HEADERS)
"""Prefixes of our own headers and of those that Envoy's router obeys: a vendor's could switch off retries."""

ENDS_HERE: Final = (
    # Bound to a browser and a host, which would be ours: RFC 6265, RFC 6797, RFC 7034, CSP, Fetch, NEL.
    *("set-cookie", "set-cookie2", "strict-transport-security", "public-key-pins", "public-key-pins-report-only"),
    *("clear-site-data", "nel", "report-to", "reporting-endpoints", "expect-ct", "timing-allow-origin", "origin-trial"),
    *("x-frame-options", "x-xss-protection", "x-permitted-cross-domain-policies", "x-webkit-csp", "referrer-policy"),
    *("permissions-policy", "feature-policy", "document-policy", "origin-agent-cluster", "service-worker-allowed"),
    *("accept-ch", "critical-ch", "sourcemap", "x-sourcemap", "speculation-rules", "refresh", "link"),
    # Where else to go, which would be past the gateway: RFC 9110 section 10.2, RFC 7838.
    *("location", "content-location", "alt-svc", "alt-used"),
    # How to sign in there, with an account that is not the client's: RFC 9110 section 11.
    *("www-authenticate", "proxy-authenticate", "authentication-info", "proxy-authentication-info"),
    # Of one hop: RFC 9110 section 7.6.
    *("via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "keep-alive", "proxy-connection"),
    # Who stands behind: the server and the CDNs in front of it.
    *("server", "x-powered-by", "x-aspnet-version", "x-aspnetmvc-version", "x-served-by", "x-timer", "x-varnish"),
    *("x-cache", "x-cache-hits", "cdn-loop", "fly-request-id"),
    # Commands to a web server between us and the client, which would serve its own files.
    *("x-accel-redirect", "x-accel-expires", "x-accel-limit-rate", "x-accel-charset", "x-sendfile", "x-send-file"),
    *("x-lighttpd-send-file", "x-lighttpd-send-tempfile", "x-litespeed-location", "x-reproxy-url", "surrogate-control"),
)
"""What a vendor sends to its own clients, by name."""
ENDS_HERE_PREFIXES: Final = (
    *("access-control-", "content-security-policy", "x-content-security-policy", "cross-origin-", "sec-"),
    *("cf-", "x-amz-cf-", "x-amzn-trace-", "x-azure-", "x-fastly-", "x-vercel-"),
)
"""The same by prefix."""


def lua_lists() -> str:
    """The lists as Lua, for the program of every attempt."""
    often = (PASSED_PREFIX + rest for rest in _OFTEN)
    passed = f'local PASSED_PREFIX = "{PASSED_PREFIX}"\n'
    return (
        _set("PASSED", (*PASSED, *_OWN, *often))
        + passed
        + _set("READING_QUERY", _READING_QUERY)
        + _set("CREDENTIAL", CREDENTIAL_HEADERS)
    )


def _set(name: str, members: Iterable[str]) -> str:
    entries = ", ".join(f'["{member}"] = true' for member in members)
    return f"local {name} = {{{entries}}}\n"


def passed_to(provider: PlannedProvider) -> tuple[str, ...]:
    """The client's headers that this provider gets in addition, in lower case."""
    spec = provider.spec
    # Whoever names the conversation in that header is not overruled.
    added = (*spec.vendor_headers, *spec.headers.passed, *([spec.affinity_header] if spec.affinity_header else []))
    return tuple(name for name in dict.fromkeys(added) if name not in PASSED)


def kept_for_later_attempts(providers: Iterable[PlannedProvider]) -> tuple[str, ...]:
    """Headers that one attempt may lack or overwrite, and of which a later one needs the client's value."""
    kept: set[str] = set()
    for provider in providers:
        kept.update(passed_to(provider), (header.name for header in provider.spec.headers.set))
    return tuple(sorted(kept))


def vendor_headers_early() -> list[Json]:
    """Mutations on the provider's side, for what must be gone before the router and our own filters look."""
    return [beginning_with(prefix) for prefix in ENDS_HERE_EARLY]


def vendor_headers() -> list[Json]:
    """Mutations on the client's side, once for all providers."""
    return [*({"remove": name} for name in ENDS_HERE), *(beginning_with(prefix) for prefix in ENDS_HERE_PREFIXES)]


def beginning_with(prefix: str) -> Json:
    """A mutation that removes all headers with this prefix, which is lower case.

    Envoy has made the names of all headers lower case before, and a comparison that ignores case costs more.
    """
    return {"remove_on_match": {"key_matcher": {"prefix": prefix}}}
