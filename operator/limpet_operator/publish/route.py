"""Which requests go to the providers, how often and in what order these are tried, and what is answered here."""

import json
from collections.abc import Sequence
from typing import Final

from limpet_extproc.contract import TRIES, attempts_key
from limpet_operator.plan import PlannedProvider
from limpet_operator.publish.encode import Json, set_header, typed, typed_struct
from limpet_operator.publish.gateway import ROUTES, UNDECIDED, Gateway
from limpet_operator.publish.patience import Patience
from limpet_operator.publish.replies import NO_BODY, NOT_FOUND, WRONG_METHOD

CHAT: Final = "/v1/chat/completions"
MODELS: Final = "/v1/models"

DEFAULT_ORDER_LENGTH: Final = 8
"""How many providers the routes themselves know: for the time that ext_proc is away, and so that a decision may name
them instead of describing them. Each costs every request a little."""

_RETRIED_STATUSES: Final = (400, 403, 413, 422, 429)
"""Besides 5xx. The Lua of the provider's cluster has looked at each answer: what concerns the provider alone it has
made a 5xx, and where nobody else is to be asked it says so in a header that ends all retries."""

_NOT_FOR_PROVIDERS: Final = (
    "accept-encoding",  # a compressed answer would hide its usage from the access log
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-original-path",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-limpet-cluster",
    "x-request-id",
)

_NOT_FOR_CLIENTS: Final = ("x-envoy-ratelimited", "x-limpet-attempt")

_EMPTY: Final = {"name": "content-length", "string_match": {"exact": "0"}}

_OFF: Final = {
    "limpet.ext_proc": typed("filters.http.ext_proc.v3.ExtProcPerRoute", disabled=True),
    "envoy.filters.http.buffer": typed("filters.http.buffer.v3.BufferPerRoute", disabled=True),
    UNDECIDED: typed_struct("filters.http.lua.v3.LuaPerRoute", disabled=True),
}


def route_configuration(providers: Sequence[PlannedProvider], gateway: Gateway) -> Json:
    """All routes. They change with the first few providers and with the models, not with every provider."""
    speaking = [provider for provider in providers if "OpenAIChat" in provider.spec.dialects]
    order = [provider.name for provider in speaking[:DEFAULT_ORDER_LENGTH]]
    return {
        "name": ROUTES,
        "max_direct_response_body_size_bytes": 4 * 1024 * 1024,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    # Envoy asks ext_proc only about bodies, and an empty one is no request anyway.
                    _answer({"path": CHAT, "headers": [_method("POST"), _EMPTY]}, 400, NO_BODY),
                    *(_chat_routes(order, gateway, _undecided(speaking, gateway)) if order else []),
                    _answer(
                        {"path": CHAT}, 405 if order else 503, WRONG_METHOD if order else _no_providers(), allow="POST"
                    ),
                    _answer({"path": MODELS, "headers": [_method("GET")]}, 200, models_body(speaking)),
                    _answer({"path": MODELS}, 405, WRONG_METHOD, allow="GET"),
                    _answer({"prefix": "/"}, 404, NOT_FOUND),
                ],
            }
        ],
    }


def models_body(providers: Sequence[PlannedProvider]) -> str:
    """Every model that some provider serves, in the shape of OpenAI's list; owned by those who serve it."""
    owners: dict[str, list[str]] = {}
    for provider in providers:
        for model in provider.spec.models:
            owners.setdefault(model.name, []).append(provider.name)
    data = [
        {"id": model, "object": "model", "created": 0, "owned_by": ", ".join(owners[model])} for model in sorted(owners)
    ]
    return json.dumps({"object": "list", "data": data})


def _chat_routes(order: list[str], gateway: Gateway, undecided: Json) -> list[Json]:
    match = {"path": CHAT, "headers": [_method("POST")]}
    if gateway.header_mode:
        chosen = {**match, "headers": [*match["headers"], {"name": "x-limpet-cluster", "present_match": True}]}
        return [
            _to_providers(chosen, {"cluster_header": "x-limpet-cluster", **_same_provider_again(gateway)}, gateway),
            _to_providers(match, {"cluster": order[0], **_same_provider_again(gateway)}, gateway, undecided),
        ]
    return [
        # The decision says how many providers it named: Envoy would try the last one again for every retry beyond them.
        # It names them in the same metadata, so the order of these routes themselves is never used.
        # The same goes for its patience: how long, and whether a streamed answer or a whole one is waited for.
        *(
            _to_providers(
                {**match, "dynamic_metadata": [_attempts_are(attempts_key(attempts, stream, level))]},
                _in_order(order, attempts, patience, stream, gateway),
                gateway,
            )
            for level, patience in enumerate(gateway.patience)
            for attempts in _attempts(gateway)
            for stream in (True, False)
        ),
        {
            # ext_proc reads the name: so it knows the routes of this very request, whatever has changed meanwhile.
            "name": " ".join(order),
            **_to_providers(
                match,
                _in_order(order, min(gateway.max_attempts, len(order)), gateway.patience[-1], False, gateway),
                gateway,
                undecided,
            ),
        },
    ]


def _undecided(providers: Sequence[PlannedProvider], gateway: Gateway) -> Json:
    """For requests without a decision: who serves which model, as many as may be tried, in the fixed order."""
    serving: dict[str, list[str]] = {}
    for provider in providers:
        for model in provider.spec.models:
            names = serving.setdefault(model.name, [])
            if len(names) < gateway.max_attempts:
                names.append(provider.name)
    context = {f"model:{name}": " ".join(names) for name, names in serving.items()}
    # Nobody has looked whether the answer is to be streamed, so the longer wait holds.
    context |= {"tries": str(TRIES), "waits": attempts_key(0, False, len(gateway.patience) - 1)[1:]}
    if gateway.header_mode:
        context["header_mode"] = "yes"
    return typed_struct("filters.http.lua.v3.LuaPerRoute", filter_context=context)


def _attempts(gateway: Gateway) -> list[int]:
    """Each provider may be asked twice; where a timeout is followed by another provider, once."""
    attempts = {TRIES * number for number in range(1, gateway.max_attempts + 1)}
    return sorted(attempts | (set(range(1, gateway.max_attempts + 1)) if gateway.timeouts_move_on else set()))


def _to_providers(match: Json, action: Json, gateway: Gateway, undecided: Json = _OFF[UNDECIDED]) -> Json:
    return {
        "match": match,
        "request_body_buffer_limit": gateway.body_limit_bytes,
        "request_headers_to_remove": list(_NOT_FOR_PROVIDERS),
        "response_headers_to_add": [
            set_header("x-limpet-decision", "%DYNAMIC_METADATA(limpet.decision:reason)%"),
            # More than 1: the decision's first provider failed, and x-limpet-provider names who answered instead.
            set_header("x-limpet-attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
        ],
        "typed_per_filter_config": {UNDECIDED: undecided},
        "response_headers_to_remove": list(_NOT_FOR_CLIENTS),
        "route": {"timeout": "0s", **action},
    }


def _in_order(order: list[str], attempts: int, patience: Patience, stream: bool, gateway: Gateway) -> Json:
    waits = attempts if gateway.timeouts_move_on else 1
    return {
        # Envoy has a limit of its own for the silence within an answer, and forgets it once the other one has passed.
        "idle_timeout": f"{patience.within_answer_s(stream) + (waits - 1) * patience.before_answer_s(stream)}s",
        "inline_cluster_specifier_plugin": {
            "extension": {
                "name": "envoy.router.cluster_specifier_plugin.priority_group",
                "typed_config": typed_struct(
                    "router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
                    override_metadata_namespace="limpet.route",
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
            "per_try_timeout": f"{patience.before_answer_s(stream)}s",
            "refresh_cluster_on_retry": True,
            "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.1s"},
        },
    }


def _same_provider_again(gateway: Gateway) -> Json:
    """A cluster header names one provider for all attempts, so only what cannot have reached it is worth another."""
    return {
        "idle_timeout": f"{gateway.patience[-1].within_answer_s(stream=False)}s",
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 1},
    }


def _attempts_are(key: str) -> Json:
    return {"filter": "limpet.route", "path": [{"key": "route"}], "value": {"string_match": {"exact": key}}}


def _answer(match: Json, status: int, body: str, allow: str | None = None) -> Json:
    headers = [set_header("content-type", "application/json")]
    if allow and status == 405:
        headers.append(set_header("allow", allow))
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": headers,
        "typed_per_filter_config": _OFF,
    }


def _no_providers() -> str:
    return json.dumps(
        {
            "error": {
                "message": "No provider is configured, or none that is could be accepted; the operator says why.",
                "type": "server_error",
                "param": None,
                "code": "no_provider_available",
            }
        }
    )


def _method(name: str) -> Json:
    return {"name": ":method", "string_match": {"exact": name}}
