"""Routes that Envoy answers itself: the models, health checks, and requests that no provider should see."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from limpet_extproc.contract.envoy import DECISION_HEADER
from limpet_extproc.contract.reasons import EnvoyReason
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish import local_replies, origins
from limpet_operator.publish.encode import Json, set_header, typed
from limpet_operator.publish.envoy_settings import (
    EXT_PROC_FILTER,
    FRONT_LUA,
    HEALTH,
    UNDECIDED_FILTER,
    VENDOR_HEADERS,
    EnvoySettings,
)
from limpet_operator.publish.error_shape import error_body, error_format
from limpet_operator.publish.local_replies import INVALID, SPOKEN
from limpet_operator.publish.lua import program
from limpet_operator.publish.models import models, table
from limpet_operator.publish.resource import TYPE

ANY_BASE: Final = "(?:/v1)*"
"""For base URLs with a /v1 too few or too many, the most common mistake."""

_LISTED: Final = 20

NO_UNDECIDED: Final = typed("filters.http.lua.v3.LuaPerRoute", disabled=True)

_FILTER: Final = f"{TYPE}envoy.config.route.v3.FilterConfig"

_OFF: Final = {
    UNDECIDED_FILTER: NO_UNDECIDED,
    VENDOR_HEADERS: {"@type": _FILTER, "disabled": True},
    EXT_PROC_FILTER: typed("filters.http.ext_proc.v3.ExtProcPerRoute", disabled=True),
    "envoy.filters.http.buffer": typed("filters.http.buffer.v3.BufferPerRoute", disabled=True),
}
_READING: Final = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}


def method(name: str) -> Json:
    """A header matcher for one method."""
    return {"name": ":method", "string_match": {"exact": name}}


def answer(
    match: Json, status: int, body: str | Json, reason: EnvoyReason, headers: Mapping[str, str] | None = None
) -> Json:
    """A route that ends here. `body` is text, or a format that names something of the request."""
    all_headers = {"content-type": "application/json", DECISION_HEADER: reason, **(headers or {})}
    written = {"body": {"inline_string": body}} if isinstance(body, str) else {"body_format": body}
    return {
        "match": match,
        "direct_response": {"status": status, **written},
        "response_headers_to_add": [set_header(key, value) for key, value in all_headers.items()],
        "typed_per_filter_config": _OFF,
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
    refused = error_format(
        "The page at %REQ(ORIGIN):200% may not use this gateway: a browser would let any page spend its keys. Allow it "
        "with --cors-origin ORIGIN, in a cluster with the chart's value gateway.cors.origins.",
        INVALID,
        "origin_not_allowed",
    )
    return [
        connect(),
        answer({"prefix": "/", "headers": origins.foreign(settings.cors_origins)}, 403, refused, "refused.origin"),
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
        "This gateway listens on this machine alone and answers to its own names, and %REQ(:AUTHORITY):200% is none of "
        f"them: a web page could have made its own name point here. They are {names}; add one with --allow-host NAME."
    )
    return answer({"prefix": "/"}, 421, error_format(message, INVALID, "misdirected_request"), "refused.host")


def wrong_bodies(chat: Json) -> list[Json]:
    """Chat requests that no provider needs to see, whether or not ext_proc answers."""
    posted = [*chat["headers"]]
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
        answer({**chat, "headers": [*posted, empty]}, 400, local_replies.NO_BODY, "refused.bad_request"),
        answer({**chat, "headers": [*posted, *encoded]}, 415, local_replies.ENCODED_BODY, "refused.content_encoding"),
    ]


def without_length(route: Json) -> Json:
    """The same route for requests that announce no body, and may turn out to have none."""
    match = route["match"]
    absent = [{"name": name, "present_match": False} for name in ("content-length", "transfer-encoding")]
    look = _lua("require_body.lua", refusal=local_replies.NO_BODY)
    return {
        **route,
        "match": {**match, "headers": [*match["headers"], *absent]},
        "typed_per_filter_config": {**route["typed_per_filter_config"], **look},
    }


def pages(providers: Sequence[PlannedProvider]) -> list[Json]:
    """Pages to read: the models, health, and a greeting."""
    described = models(providers)
    return [
        {
            **answer(_regex(f"{ANY_BASE}/models(?:/.*)?", _READING), 404, "", "refused.unknown_model"),
            "typed_per_filter_config": {**_OFF, **_lua("table.lua", "models.lua", **_models_context(described))},
        },
        {
            **answer({"path": "/healthz", "headers": [_READING]}, 200, "", "answered.health"),
            "typed_per_filter_config": {**_OFF, HEALTH: _ON},
        },
        answer(_regex("/|/v1/?", _READING), 200, _HELLO, "answered.health"),
    ]


_ON: Final = {"@type": _FILTER, "config": {}}
"""For a filter that is off elsewhere and has no settings of its own for a route, hence the empty ones."""

_HELLO: Final = json.dumps(
    {"object": "gateway", "message": f"This is Limpet. The base_url ends in /v1; served are {SPOKEN}."}
)


def wrong_paths(chat: Sequence[Json]) -> list[Json]:
    """The rest: a served path with another method, one that looks like a served path, and all others."""
    wrong = local_replies.WRONG_METHOD
    requested = "%REQ(:METHOD):20% %PATH(NQ):200%"
    advice = f"Limpet does not serve {requested}. The base_url should end in /v1; served are {SPOKEN}."
    plain = f"Limpet does not serve {requested}; it serves {SPOKEN}."
    return [
        *(
            answer({k: v for k, v in match.items() if k != "headers"}, 405, wrong, "refused.method", {"allow": "POST"})
            for match in chat
        ),
        answer(
            _regex(f"{ANY_BASE}/models(?:/.*)?|/|/healthz|/v1/?"), 405, wrong, "refused.method", {"allow": "GET, HEAD"}
        ),
        answer(
            _regex("(?i).*/(?:chat/completions|models)(?:/.*)?"),
            404,
            error_format(advice, INVALID, "unknown_url"),
            "refused.unknown_path",
        ),
        answer({"prefix": "/"}, 404, error_format(plain, INVALID, "unknown_url"), "refused.unknown_path"),
    ]


def _regex(path: str, *headers: Json) -> Json:
    return {"safe_regex": {"regex": path}, **({"headers": list(headers)} if headers else {})}


def _lua(*file_names: str, **context: Any) -> Json:
    return {
        FRONT_LUA: typed(
            "filters.http.lua.v3.LuaPerRoute",
            source_code={"inline_string": program(*file_names)},
            filter_context=context,
        )
    }


def _models_context(described: Mapping[str, str]) -> Json:
    names = list(described)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    served = (", ".join(names[:_LISTED]) + more).replace("@", "(at)") or "none yet"
    missing = f"The model '@' is not served here. Available models: {served}."
    return {
        "models": table(described),
        "missing": error_body(missing, INVALID, "model_not_found", "model"),
        "exposed": origins.EXPOSED,
    }
