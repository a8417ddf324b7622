"""Routes that Envoy answers itself: the models, health checks, and requests that no provider should see."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from limpet_extproc.contract.envoy import DECISION_HEADER
from limpet_extproc.contract.reasons import EnvoyReason, EnvoyRefusal
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish import origins, paths
from limpet_operator.publish.encode import Json, set_header, typed
from limpet_operator.publish.envoy_settings import (
    EXT_PROC_FILTER,
    FRONT_LUA,
    HEALTH,
    UNDECIDED_FILTER,
    VENDOR_HEADERS,
    EnvoySettings,
)
from limpet_operator.publish.error_shape import INVALID
from limpet_operator.publish.local_replies import ENCODED_BODY, NO_BODY
from limpet_operator.publish.models import models, table
from limpet_operator.publish.paths import Served
from limpet_operator.publish.resource import TYPE

_LISTED: Final = 20

NO_UNDECIDED: Final = typed("filters.http.lua.v3.LuaPerRoute", disabled=True)

_FILTER: Final = f"{TYPE}envoy.config.route.v3.FilterConfig"

_OFF: Final = {
    UNDECIDED_FILTER: NO_UNDECIDED,
    VENDOR_HEADERS: {"@type": _FILTER, "disabled": True},
    EXT_PROC_FILTER: typed("filters.http.ext_proc.v3.ExtProcPerRoute", disabled=True),
    "envoy.filters.http.buffer": typed("filters.http.buffer.v3.BufferPerRoute", disabled=True),
}

HEADERS_ALONE: Final = typed(
    "filters.http.ext_proc.v3.ExtProcPerRoute",
    overrides={
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "NONE",
            "response_header_mode": "SKIP",
        }
    },
)
"""ext_proc is called for a body alone, and these have none; a body that comes all the same is passed on."""

FRONT_PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "models": ("table.lua", "asked.lua", "error_shape.lua", "models.lua"),
    "refuse": ("asked.lua", "error_shape.lua", "nearest.lua", "refuse.lua"),
    "announce_empty": ("announce_empty.lua",),
    "require_body": ("asked.lua", "error_shape.lua", "require_body.lua"),
}
"""The Lua of routes that answer themselves, by the name that a route has for it."""


def method(*names: str) -> Json:
    """A header matcher for these methods."""
    matched = {"exact": names[0]} if len(names) == 1 else {"safe_regex": {"regex": "|".join(names)}}
    return {"name": ":method", "string_match": matched}


_READING: Final = method("GET", "HEAD")


def answer(match: Json, status: int, body: str, reason: EnvoyReason, headers: Mapping[str, str] | None = None) -> Json:
    """A route that ends here."""
    all_headers = {"content-type": "application/json", DECISION_HEADER: reason, **(headers or {})}
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [set_header(key, value) for key, value in all_headers.items()],
        "typed_per_filter_config": _OFF,
    }


def refusal(
    match: Json,
    status: int,
    message: str,
    code: str,
    reason: EnvoyRefusal,
    kind: str = INVALID,
    **context: str,
) -> Json:
    """A route that ends in an error, whose shape is that of the client's API: see `refuse.lua`."""
    told = {"status": str(status), "message": json.dumps(message)[1:-1], "type": kind, "code": code, "reason": reason}
    return _by_lua(match, status, reason, "refuse", told | {"exposed": origins.EXPOSED} | context)


def _by_lua(match: Json, status: int, reason: EnvoyReason, name: str, context: Json) -> Json:
    """A route whose answer a program writes; the status and the reason here are there should it fail."""
    config = typed("filters.http.lua.v3.LuaPerRoute", name=name, filter_context=context)
    return {
        **answer(match, status, "", reason),
        "typed_per_filter_config": {**_OFF, FRONT_LUA: config},
    }


def readable(route: Json) -> Json:
    """A route whose own answer an allowed page may read."""
    if "direct_response" not in route or "response_headers_to_add" not in route:
        return route
    more = [set_header(key, value) for key, value in origins.answer_headers().items()]
    return {**route, "response_headers_to_add": [*route["response_headers_to_add"], *more]}


def before_all(settings: EnvoySettings) -> list[Json]:
    """Checks of every request, whatever its path."""
    preflight = [*_ALLOWED_PREFLIGHT, *_allowed(settings)]
    private = {"name": "access-control-request-private-network", "present_match": True}
    refused = (
        "The page at {origin} may not use this gateway: a browser would let any page spend its keys. Allow it "
        "with --cors-origin ORIGIN, in a cluster with the chart's value gateway.cors.origins."
    )
    foreign = {"prefix": "/", "headers": origins.foreign(settings.cors_origins)}
    return [
        connect(),
        _unreadable(refusal(foreign, 403, refused, "origin_not_allowed", "refused.origin")),
        *(
            _without_cors(
                answer(
                    {"prefix": "/", "headers": [*preflight, *([private] if privately else [])]},
                    204,
                    "",
                    "answered.preflight",
                    origins.preflight_headers(privately),
                )
            )
            for privately in (True, False)
        ),
    ]


def _unreadable(route: Json) -> Json:
    """A refusal that no page may read."""
    configs = route["typed_per_filter_config"]
    lua = configs[FRONT_LUA]
    context = {key: value for key, value in lua["filter_context"].items() if key != "exposed"}
    return {**route, "typed_per_filter_config": {**configs, FRONT_LUA: {**lua, "filter_context": context}}}


_ALLOWED_PREFLIGHT: Final = [
    {"name": ":method", "string_match": {"exact": "OPTIONS"}},
    {"name": "access-control-request-method", "present_match": True},
]


def _allowed(settings: EnvoySettings) -> list[Json]:
    regex = {"regex": origins.pattern(settings.cors_origins)}
    return [{"name": "origin", "string_match": {"safe_regex": regex}}]


def _without_cors(route: Json) -> Json:
    """Envoy's cors filter would answer before the route, without the reason in `x-limpet-decision`."""
    off = {"envoy.filters.http.cors": {"@type": _FILTER, "disabled": True}}
    return {**route, "typed_per_filter_config": {**route["typed_per_filter_config"], **off}}


def connect() -> Json:
    """For clients that use the gateway as a forward proxy: without a route their request would hang."""
    return {"match": {"connect_matcher": {}}, "direct_response": {"status": 405}}


def foreign_host(settings: EnvoySettings) -> Json:
    """For a request that reaches a loopback listener by a name that is not its own."""
    names = ", ".join(settings.own_names)
    message = (
        "This gateway listens on this machine alone and answers to its own names, and {host} is none of "
        f"them: a web page could have made its own name point here. They are {names}; add one with --allow-host NAME."
    )
    return _unreadable(refusal({"prefix": "/"}, 421, message, "misdirected_request", "refused.host"))


def wrong_bodies(posted: Json) -> list[Json]:
    """Requests that no provider needs to see, whether or not ext_proc answers."""
    empty = {"name": "content-length", "string_match": {"safe_regex": {"regex": "0+"}}}
    encoded = [
        {"name": "content-encoding", "present_match": True},
        {
            "name": "content-encoding",
            "string_match": {"safe_regex": {"regex": "(?i)\\s*|identity"}},
            "invert_match": True,
        },
    ]
    return [
        refusal(also(posted, empty), 400, NO_BODY, "empty_body", "refused.bad_request"),
        refusal(also(posted, *encoded), 415, ENCODED_BODY, "unsupported_content_encoding", "refused.content_encoding"),
    ]


def also(match: Json, *headers: Json) -> Json:
    """The same match with these headers as well."""
    return {**match, "headers": [*match.get("headers", ()), *headers]}


_UNANNOUNCED: Final = [{"name": name, "present_match": False} for name in ("content-length", "transfer-encoding")]


def without_length(route: Json) -> Json:
    """The same route for requests that announce no body, and may turn out to have none."""
    look = typed("filters.http.lua.v3.LuaPerRoute", name="require_body", filter_context={"message": NO_BODY})
    return _unannounced(route, look)


def announced(route: Json) -> Json:
    """The same for requests that may have none: one that has none takes the route of those that say so."""
    return _unannounced(route, typed("filters.http.lua.v3.LuaPerRoute", name="announce_empty"))


def _unannounced(route: Json, look: Json) -> Json:
    return {
        **route,
        "match": also(route["match"], *_UNANNOUNCED),
        "typed_per_filter_config": {**route["typed_per_filter_config"], FRONT_LUA: look},
    }


def pages(providers: Sequence[PlannedProvider], served: Served, *, keys_required: bool = False) -> list[Json]:
    """Pages to read: the models, health, and a greeting."""
    described = models(providers)
    hello = f"This is Limpet. The base_url ends in /v1, for Anthropic's SDKs before it. Served are {served.words}."
    return [
        _models(
            {"models": table(described), "available": _available([*described]), "exposed": origins.EXPOSED},
            keys_required=keys_required,
        ),
        {
            **answer({"path": "/healthz", "headers": [_READING]}, 200, "", "answered.health"),
            "typed_per_filter_config": {**_OFF, HEALTH: _ON},
        },
        # Claude Code asks for this before anything else.
        answer(regex(_HELLO_PATHS, _READING), 200, "", "answered.health"),
        answer(regex("/|/v1/?", _READING), 200, json.dumps({"object": "gateway", "message": hello}), "answered.health"),
    ]


def _models(context: Json, *, keys_required: bool) -> Json:
    """Where keys are required it is answered after ext_proc has checked the client's, by the same program."""
    route = _by_lua(regex(paths.MODELS, _READING), 404, "refused.unknown_model", "models", context)
    if not keys_required:
        return route
    checked = {**context, "keys_required": "yes"}
    late = typed("filters.http.lua.v3.LuaPerRoute", name="models", filter_context=checked)
    return {
        **answer(route["match"], 503, "", "refused.unchecked"),
        "typed_per_filter_config": {**_OFF, UNDECIDED_FILTER: late, EXT_PROC_FILTER: HEADERS_ALONE},
    }


_ON: Final = {"@type": _FILTER, "config": {}}
"""For a filter that is off elsewhere and has no settings of its own for a route, hence the empty ones."""

_HELLO_PATHS: Final = "(?:/anthropic)?/api/hello/?"


def wrong_methods(match: Json, allowed: str) -> Json:
    """A path that is served, with another method."""
    message = f"Wrong method: {{path}} is asked with {' or '.join(allowed.split(', '))}, not with {{method}}."
    return refusal(match, 405, message, "method_not_allowed", "refused.method", allow=allowed)


def odd_paths() -> Json:
    """Paths that this gateway and a provider could read differently."""

    def is_path(expression: str, **how: bool) -> Json:
        return {"name": ":path", "string_match": {"safe_regex": {"regex": expression}}, **how}

    match = {"prefix": "/", "headers": [is_path(paths.ODD), is_path(paths.NAMES_A_MODEL, invert_match=True)]}
    message = (
        "The path {path} has an encoded slash, dot, percent sign or the like (%2F, %2E, %25 …), which can be read in "
        "more than one way: write it plainly."
    )
    return refusal(match, 404, message, "unknown_url", "refused.unknown_path")


def wrong_paths(served: Served) -> list[Json]:
    """The rest: the pages with another method, APIs that are not passed on, and all other paths."""
    stateless, objects = served.unlisted
    unlisted = (
        "Limpet does not serve {method} {path}: no Provider of this gateway lists '{api}' in spec.endpoints. GET /v1 "
        "says what is served."
    )
    of_accounts = (
        "Limpet does not serve {method} {path}: its objects belong to the gateway's account at a provider, which many "
        "clients share. Ask that provider directly, or whoever runs this gateway to list '{api}' in spec.endpoints of "
        "one Provider."
    )
    live = (
        "Limpet does not serve {method} {path}: the realtime APIs speak WebSocket or WebRTC, and this gateway passes "
        "plain HTTP requests and their streams on. Ask the provider directly."
    )
    unknown = (
        "Limpet does not serve {method} {path}.{near}{base} Most ask for POST /v1/chat/completions, /v1/responses or "
        "/v1/messages; GET /v1 says all that is served."
    )
    told = {
        "served": "\n".join(served.lines),
        "unlisted": f" {' '.join(stateless)} ",
        "unlisted_message": unlisted,
        "of_accounts": f" {' '.join(objects)} ",
        "of_accounts_message": of_accounts,
    }
    return [
        wrong_methods(regex(f"{paths.MODELS}|/|/healthz|/v1/?|{_HELLO_PATHS}"), "GET, HEAD"),
        refusal(regex(paths.LIVE_APIS), 404, live, "realtime_not_supported", "refused.websocket"),
        refusal({"prefix": "/"}, 404, unknown, "unknown_url", "refused.unknown_path", **told),
    ]


def regex(path: str, *headers: Json) -> Json:
    """A match of whole paths and of headers."""
    return {"safe_regex": {"regex": path}, **({"headers": list(headers)} if headers else {})}


def _available(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return json.dumps(", ".join(names[:_LISTED]) + more)[1:-1] or "none yet"
