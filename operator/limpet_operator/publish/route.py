"""The routes: which requests go to providers, and what becomes of those that wait for their decision."""

from collections.abc import Sequence
from typing import Final

from limpet_extproc.contract.apis import OBJECTS
from limpet_extproc.contract.envoy import (
    CLUSTER_HEADER,
    DECISION_CLIENT,
    DECISION_METADATA,
    ROUTE_KEY,
    ROUTE_METADATA,
    TRIES,
    route_key,
)
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish import paths
from limpet_operator.publish.attempt_filters import attempt_program
from limpet_operator.publish.direct_responses import (
    HEADERS_ALONE,
    also,
    announced,
    before_all,
    connect,
    foreign_host,
    method,
    odd_paths,
    pages,
    readable,
    refusal,
    regex,
    without_length,
    wrong_bodies,
    wrong_methods,
    wrong_paths,
)
from limpet_operator.publish.encode import Json, typed
from limpet_operator.publish.envoy_settings import (
    CLIENT_ROUTES,
    EXT_PROC_FILTER,
    UNDECIDED_FILTER,
    EnvoySettings,
)
from limpet_operator.publish.local_replies import NO_PROVIDERS
from limpet_operator.publish.models import apis_of, providers_of_models, table
from limpet_operator.publish.origins import policy
from limpet_operator.publish.paths import Served
from limpet_operator.publish.route_action import (
    attempt_counts,
    in_order,
    same_provider_again,
    to_providers,
    unchecked,
    until_decided,
)

CHAT: Final = "/v1/chat/completions"

DEFAULT_ORDER_LENGTH: Final = 8
"""How many providers the routes themselves name: for requests without a decision, and so that a decision may name
providers instead of describing them. Each costs every request a little."""


_USUAL: Final = {"path": CHAT}
"""By far the most requests, so it comes before all expressions."""


def route_configuration(providers: Sequence[PlannedProvider], settings: EnvoySettings) -> Json:
    """All routes. They change with the first few providers, with models and endpoints, not with every provider."""
    serving = [provider for provider in providers if provider.served]
    order = [provider.name for provider in serving[:DEFAULT_ORDER_LENGTH]]
    served = Served.of(name for provider in serving for name in provider.spec.endpoints)
    posted = [
        regex(paths.MESSAGES),
        regex(paths.CHAT_AND_RESPONSES),
        *map(regex, paths.below(served.stateless)),
    ]
    routes = [
        *(_decided(order, settings) if order else []),
        *_with_a_body(also(_USUAL, method("POST")), order, settings),
        odd_paths(),
        *(each for match in posted for each in _with_a_body(also(match, method("POST")), order, settings)),
        *(wrong_methods(match, "POST") for match in (_USUAL, *posted)),
        *_of_responses(order, settings),
        *(wrong_methods(regex(paths.pattern(path)), allowed) for path, allowed in _ALLOWED_OF_RESPONSES),
        *(each for path in paths.below(served.objects) for each in _of_objects(path, order, settings)),
        *pages(serving, served, keys_required=settings.keys_required),
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
        "typed_per_filter_config": attempt_program(),
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
_ALLOWED_OF_RESPONSES: Final = ((paths.RESPONSE, "GET, HEAD, DELETE"), (_ITEMS, "GET, HEAD"), (_CANCEL, "POST"))


def _of_responses(order: list[str], settings: EnvoySettings) -> list[Json]:
    """Requests for a response, which lives at one provider: its id stands in the path."""
    read = regex(paths.pattern(paths.RESPONSE, _ITEMS), method("GET", "HEAD"))
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
    filters = {EXT_PROC_FILTER: HEADERS_ALONE, UNDECIDED_FILTER: _nameless(settings)}
    return [{**waiting, "typed_per_filter_config": filters}]


def _perhaps_with_a_body(match: Json, order: list[str], settings: EnvoySettings) -> list[Json]:
    if not order:
        return [_no_provider(match)]
    waiting = {**_waiting(match, order, settings), "typed_per_filter_config": {UNDECIDED_FILTER: _nameless(settings)}}
    return [*_without_a_body(also(match, _EMPTY), order, settings), announced(waiting), waiting]


def _of_objects(path: str, order: list[str], settings: EnvoySettings) -> list[Json]:
    """Requests that make, read or change what lives at a provider."""
    return [
        *_without_a_body(regex(path, method("GET", "HEAD", "DELETE")), order, settings),
        *_perhaps_with_a_body(regex(path, method("POST")), order, settings),
        wrong_methods(regex(path), "GET, HEAD, POST, DELETE"),
    ]


_EMPTY: Final = {"name": "content-length", "string_match": {"safe_regex": {"regex": "0+"}}}
"""No other request is sure to have no body: Envoy drops `transfer-encoding`, and any header that `connection` names."""


def _nameless(settings: EnvoySettings) -> Json:
    """Of requests that name no model."""
    context = {"of_objects": "yes", **_KEYS_REQUIRED} if settings.keys_required else {"of_objects": "yes"}
    return typed("filters.http.lua.v3.LuaPerRoute", filter_context=context)


_KEYS_REQUIRED: Final = {"keys_required": "yes"}


def _decided(order: list[str], settings: EnvoySettings) -> list[Json]:
    """The routes of decided requests, whatever their API.

    Envoy looks for a request's route when it arrives, and again when ext_proc has decided. Nobody else can write what
    these match.
    """
    match = {"prefix": "/"}
    checked = [_CHECKED] if settings.keys_required else []
    if settings.header_mode:
        known = {"dynamic_metadata": checked} if checked else {}
        chosen = also({**match, **known}, {"name": CLUSTER_HEADER, "present_match": True})
        return [to_providers(chosen, {"cluster_header": CLUSTER_HEADER, **same_provider_again(settings)}, settings)]
    return [
        # A decision names one of these routes: by how many attempts it takes, as Envoy would try the last provider
        # again for every retry beyond them, by whether for a streamed answer or a whole one, and how long that may be
        # silent. It names its providers in the same metadata, so the order of these routes themselves is never used.
        to_providers(
            {**match, "dynamic_metadata": [*checked, _attempts_are(route_key(attempts, stream, level))]},
            in_order(order, attempts, wait, settings) if stream else in_order(order, attempts, None, settings),
            settings,
            stream=stream,
        )
        for attempts in attempt_counts(settings)
        for level, wait in enumerate(settings.wait_levels)
        for stream in ((True, False) if level == 0 else (True,))
    ]


def _waiting(match: Json, order: list[str], settings: EnvoySettings) -> Json:
    """The route of a request while it waits for its decision, and if none comes.

    Where keys are required it leads to no provider: without a worker's word nobody is served.
    """
    if settings.keys_required:
        named = {} if settings.header_mode else {"name": " ".join(order)}
        return {**named, **unchecked(match, settings)}
    if settings.header_mode:
        action = {"cluster": order[0], **same_provider_again(settings)}
    else:
        action = in_order(order, min(settings.max_attempts, len(order)), settings.wait_levels[-1], settings)
    # ext_proc reads the name: so it knows the route of this very request, whatever has changed since.
    name = {} if settings.header_mode else {"name": " ".join(order)}
    return {**name, **to_providers(match, until_decided(action), settings, decided=False)}


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
    if any(not OBJECTS.isdisjoint(provider.spec.endpoints) for provider in providers):
        context["keeps_objects"] = "yes"
    if settings.keys_required:
        context |= _KEYS_REQUIRED
    return typed("filters.http.lua.v3.LuaPerRoute", filter_context=context)


_CHECKED: Final = {"filter": DECISION_METADATA, "path": [{"key": DECISION_CLIENT}], "value": {"bool_match": True}}
"""Of a decision by a worker that has checked the client's key: one of an older version, or with an older catalog, has
not, and so is not obeyed."""


def _attempts_are(key: str) -> Json:
    return {"filter": ROUTE_METADATA, "path": [{"key": ROUTE_KEY}], "value": {"string_match": {"exact": key}}}
