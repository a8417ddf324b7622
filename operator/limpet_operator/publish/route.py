"""The routes: which requests go to providers, how often and in what order these are tried."""

from collections.abc import Sequence
from typing import Final

from limpet_extproc.contract.envoy import (
    ATTEMPT_HEADER,
    ATTEMPTS_HEADER,
    CLUSTER_HEADER,
    DECISION_HEADER,
    DECISION_METADATA,
    DECISION_REASON,
    ROUTE_KEY,
    ROUTE_METADATA,
    TRIES,
    WAIT_HEADER,
    route_key,
)
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish import paths
from limpet_operator.publish.direct_responses import (
    NO_UNDECIDED,
    also,
    before_all,
    connect,
    foreign_host,
    method,
    pages,
    readable,
    refusal,
    regex,
    without_length,
    wrong_bodies,
    wrong_methods,
    wrong_paths,
)
from limpet_operator.publish.encode import Json, set_header, typed, typed_struct
from limpet_operator.publish.envoy_settings import (
    CLIENT_ROUTES,
    EXT_PROC_FILTER,
    EXT_PROC_WAIT_S,
    UNDECIDED_FILTER,
    EnvoySettings,
)
from limpet_operator.publish.local_replies import NO_PROVIDERS
from limpet_operator.publish.models import apis_of, providers_of_models, table
from limpet_operator.publish.origins import policy
from limpet_operator.publish.paths import Served
from limpet_operator.publish.wait_levels import WaitLevel

CHAT: Final = "/v1/chat/completions"

DEFAULT_ORDER_LENGTH: Final = 8
"""How many providers the routes themselves name: for requests without a decision, and so that a decision may name
providers instead of describing them. Each costs every request a little."""

_RETRIED_STATUSES: Final = (400, 403, 413, 422, 429)
"""Besides 5xx. The Lua of the provider's cluster has looked at each answer: what concerns the provider alone it has
made a 5xx, and where no other provider should be tried it sets a header that ends all retries."""

_LONGEST_WAIT_S: Final = 60
"""The longest that a policy may wait for a warm provider."""

_NOT_FOR_PROVIDERS: Final = (
    "accept-encoding",  # a compressed answer would hide its usage from the access log
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-original-path",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    CLUSTER_HEADER,
    "x-request-id",
)

_NOT_FOR_CLIENTS: Final = ("x-envoy-ratelimited", ATTEMPT_HEADER, WAIT_HEADER)

_USUAL: Final = {"path": CHAT}
"""By far the most requests, so it comes first and needs no expression."""


def route_configuration(providers: Sequence[PlannedProvider], settings: EnvoySettings) -> Json:
    """All routes. They change with the first few providers, with models and endpoints, not with every provider."""
    serving = [provider for provider in providers if provider.served]
    order = [provider.name for provider in serving[:DEFAULT_ORDER_LENGTH]]
    served = Served.of(name for provider in serving for name in provider.spec.endpoints)
    posted = [_USUAL, regex(paths.MESSAGES), regex(paths.TOLD), *map(regex, paths.below(served.stateless))]
    routes = [
        *(_decided(order, settings) if order else []),
        *(each for match in posted for each in _with_a_body(also(match, method("POST")), order, settings)),
        *(wrong_methods(match, "POST", served) for match in posted),
        *_of_responses(order, settings),
        *(wrong_methods(regex(paths.pattern(path)), allowed, served) for path, allowed in _ALLOWED_OF_RESPONSES),
        *(each for path in paths.below(served.objects) for each in _of_objects(path, served, order, settings)),
        *pages(serving, served),
        *wrong_paths(served),
    ]
    if settings.cors_origins:
        routes = [readable(route) for route in routes]
    cors = {"envoy.filters.http.cors": policy(settings.cors_origins)} if settings.cors_origins else {}
    ours = {
        "name": "all",
        "domains": list(settings.own_names) or ["*"],
        # For the Lua of every attempt, which takes it out.
        "include_request_attempt_count": True,
        "include_is_timeout_retry_header": True,
        "routes": [*before_all(settings), *routes],
        # The routes of requests that are decided, or need no decision, switch it off.
        "typed_per_filter_config": {UNDECIDED_FILTER: _undecided(serving, settings), **cors},
    }
    foreign = {"name": "foreign", "domains": ["*"], "routes": [connect(), foreign_host(settings)]}
    return {
        "name": CLIENT_ROUTES,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": 4 * 1024 * 1024,
        "virtual_hosts": [ours, foreign] if settings.own_names else [ours],
    }


def _no_provider(match: Json) -> Json:
    return refusal(match, 503, NO_PROVIDERS, "no_provider_available", "refused.no_provider", "server_error")


def _with_a_body(match: Json, order: list[str], settings: EnvoySettings) -> list[Json]:
    """What becomes of requests with a body until they are decided."""
    if not order:
        return [_no_provider(match)]
    waiting = _waiting(match, order, settings)
    return [*wrong_bodies(match), without_length(waiting), waiting]


_ITEMS: Final = f"{paths.RESPONSE}/input_items"
_CANCEL: Final = f"{paths.RESPONSE}/cancel"
_ALLOWED_OF_RESPONSES: Final = ((paths.RESPONSE, "GET, DELETE"), (_ITEMS, "GET"), (_CANCEL, "POST"))


def _of_responses(order: list[str], settings: EnvoySettings) -> list[Json]:
    """Requests for a response, which lives at one provider: its id stands in the path."""
    read = regex(paths.pattern(paths.RESPONSE, _ITEMS), method("GET"))
    deleted = regex(paths.pattern(paths.RESPONSE), method("DELETE"))
    cancelled = regex(paths.pattern(_CANCEL), method("POST"))
    return [
        *_without_a_body(read, order, settings),
        *_without_a_body(deleted, order, settings),
        *_perhaps_with_a_body(cancelled, order, settings),
    ]


def _without_a_body(match: Json, order: list[str], settings: EnvoySettings) -> list[Json]:
    if not order:
        return [_no_provider(match)]
    waiting = _waiting(match, order, settings)
    return [{**waiting, "typed_per_filter_config": {EXT_PROC_FILTER: _HEADERS_ALONE, UNDECIDED_FILTER: _NAMELESS}}]


def _perhaps_with_a_body(match: Json, order: list[str], settings: EnvoySettings) -> list[Json]:
    if not order:
        return [_no_provider(match)]
    waiting = _waiting(match, order, settings)
    return [
        *_without_a_body(also(match, *_EMPTY), order, settings),
        {**waiting, "typed_per_filter_config": {UNDECIDED_FILTER: _NAMELESS}},
    ]


def _of_objects(path: str, served: Served, order: list[str], settings: EnvoySettings) -> list[Json]:
    """Requests that make, read or change what lives at a provider."""
    return [
        *_without_a_body(regex(path, method("GET", "DELETE")), order, settings),
        *_perhaps_with_a_body(regex(path, method("POST")), order, settings),
        wrong_methods(regex(path), "GET, POST, DELETE", served),
    ]


_EMPTY: Final = [
    {
        "name": "content-length",
        "string_match": {"safe_regex": {"regex": "0*"}},
        "treat_missing_header_as_empty": True,
    },
    {"name": "transfer-encoding", "present_match": False},
]

_HEADERS_ALONE: Final = typed(
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

_NAMELESS: Final = typed("filters.http.lua.v3.LuaPerRoute", filter_context={"of_objects": "yes"})
"""Of requests that name no model."""


def _decided(order: list[str], settings: EnvoySettings) -> list[Json]:
    """The routes of decided requests, whatever their API.

    Envoy looks for a request's route when it arrives, and again when ext_proc has decided. Nobody else can write what
    these match.
    """
    match = {"prefix": "/"}
    if settings.header_mode:
        chosen = also(match, {"name": CLUSTER_HEADER, "present_match": True})
        return [_to_providers(chosen, {"cluster_header": CLUSTER_HEADER, **_same_provider_again(settings)}, settings)]
    return [
        # A decision names one of these routes: by how many attempts it takes, as Envoy would try the last provider
        # again for every retry beyond them, by whether for a streamed answer or a whole one, and how long that may be
        # silent. It names its providers in the same metadata, so the order of these routes themselves is never used.
        _to_providers(
            {**match, "dynamic_metadata": [_attempts_are(route_key(attempts, stream, level))]},
            _in_order(order, attempts, wait, settings) if stream else _in_order(order, attempts, None, settings),
            settings,
            stream=stream,
        )
        for attempts in _attempts(settings)
        for level, wait in enumerate(settings.wait_levels)
        for stream in ((True, False) if level == 0 else (True,))
    ]


def _waiting(match: Json, order: list[str], settings: EnvoySettings) -> Json:
    """The route of a request while it waits for its decision, and if none comes."""
    if settings.header_mode:
        action = {"cluster": order[0], **_same_provider_again(settings)}
    else:
        action = _in_order(order, min(settings.max_attempts, len(order)), settings.wait_levels[-1], settings)
    # ext_proc reads the name: so it knows the route of this very request, whatever has changed since.
    name = {} if settings.header_mode else {"name": " ".join(order)}
    return {**name, **_to_providers(match, _until_decided(action), settings, decided=False)}


def _undecided(providers: Sequence[PlannedProvider], settings: EnvoySettings) -> Json:
    tried = providers_of_models(providers, settings.max_attempts)
    named = {name for names in tried.values() for name in names.split()}
    context = {
        "models": table(tried),
        "apis": table(apis_of(provider for provider in providers if provider.name in named)),
        "attempts": str(settings.max_attempts),
        "tries": str(TRIES),
        "stream": route_key(0, True, len(settings.wait_levels) - 1)[1:],
        "whole": route_key(0, False, 0)[1:],
    }
    if settings.header_mode:
        context["header_mode"] = "yes"
    return typed("filters.http.lua.v3.LuaPerRoute", filter_context=context)


def _attempts(settings: EnvoySettings) -> list[int]:
    """Each provider may be tried twice; where a timeout moves on, once, and the first again to save its cache."""
    attempts = {TRIES * number for number in range(1, settings.max_attempts + 1)}
    return sorted(attempts | (set(range(1, settings.max_attempts + 2)) if settings.timeouts_move_on else set()))


def _to_providers(
    match: Json, action: Json, settings: EnvoySettings, *, stream: bool = True, decided: bool = True
) -> Json:
    return {
        "match": match,
        "request_body_buffer_limit": settings.body_limit_bytes,
        "request_headers_to_remove": list(_NOT_FOR_PROVIDERS),
        # A provider's limit for whole answers would cut a stream; the header never leaves Envoy.
        **({"request_headers_to_add": [set_header("x-envoy-upstream-stream-duration-ms", "0")]} if stream else {}),
        "response_headers_to_add": [
            set_header(DECISION_HEADER, f"%DYNAMIC_METADATA({DECISION_METADATA}:{DECISION_REASON})%"),
            # More than 1: the decision's first provider failed, and x-limpet-provider names the one that answered.
            set_header(ATTEMPTS_HEADER, "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
        ],
        "typed_per_filter_config": {UNDECIDED_FILTER: NO_UNDECIDED} if decided else {},
        "response_headers_to_remove": list(_NOT_FOR_CLIENTS),
        "route": {"timeout": "0s", **action},
    }


def _in_order(order: list[str], attempts: int, silence: WaitLevel | None, settings: EnvoySettings) -> Json:
    """`silence`: how long a streamed answer may be silent; None for whole answers, which the clusters limit."""
    waited_for = attempts if settings.timeouts_move_on else 1
    route, per_try = _silence(silence, waited_for) if silence is not None else ({}, {})
    return {
        **route,
        "inline_cluster_specifier_plugin": {
            "extension": {
                "name": "envoy.router.cluster_specifier_plugin.priority_group",
                "typed_config": typed_struct(
                    "router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
                    override_metadata_namespace=ROUTE_METADATA,
                    priority_groups=[
                        {"name": name, "clusters": [{"cluster_name": name, "weight": 1}]} for name in order
                    ],
                ),
            }
        },
        "retry_policy": {
            "retry_on": "5xx,reset,connect-failure,retriable-status-codes",
            "retriable_status_codes": list(_RETRIED_STATUSES),
            "num_retries": attempts - 1,
            **per_try,
            "refresh_cluster_on_retry": True,
            "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.1s"},
            # Set by our Lua alone: a vendor's own header would delay the attempt at another.
            "rate_limited_retry_back_off": {
                "reset_headers": [{"name": WAIT_HEADER, "format": "SECONDS"}],
                "max_interval": f"{_LONGEST_WAIT_S}s",
            },
        },
    }


def _until_decided(action: Json) -> Json:
    """A request has this route while it waits for its decision, too."""
    if "idle_timeout" not in action:
        return action
    longest_s = max(float(action["idle_timeout"].removesuffix("s")), EXT_PROC_WAIT_S + 1.0)
    return {**action, "idle_timeout": f"{longest_s}s"}


def _silence(wait: WaitLevel, waited_for: int) -> tuple[Json, Json]:
    """The limits of a route and those of each attempt there.

    One limit of an attempt serves both kinds of silence, unless an answer may pause for longer than it may take to
    begin. Envoy has two for that, but forgets the one for pauses as soon as the other has passed: the route's own limit
    takes its place, which counts from the request on, and so over all attempts that may have to be waited for.
    """
    if wait.idle_s <= wait.first_byte_s:
        return {}, {"per_try_idle_timeout": f"{wait.first_byte_s}s"}
    within_s = wait.idle_s + (waited_for - 1) * wait.first_byte_s
    return {"idle_timeout": f"{within_s}s"}, {"per_try_timeout": f"{wait.first_byte_s}s"}


def _same_provider_again(settings: EnvoySettings) -> Json:
    """A cluster header names one provider for all attempts, so only what cannot have reached it is retried."""
    longest_s = max(
        settings.longest_unstreamed_s, *(max(level.idle_s, level.first_byte_s) for level in settings.wait_levels)
    )
    return {
        "idle_timeout": f"{longest_s}s",
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 1},
    }


def _attempts_are(key: str) -> Json:
    return {"filter": ROUTE_METADATA, "path": [{"key": ROUTE_KEY}], "value": {"string_match": {"exact": key}}}
