"""How Envoy tries the providers on one route: how often, in what order, and how long it waits for each."""

from typing import Final

from limpet_extproc.contract.envoy import (
    ATTEMPT_HEADER,
    ATTEMPTS_HEADER,
    CACHE_HEADER,
    CLUSTER_HEADER,
    DEBUG_KEPT,
    DECISION_CACHE,
    DECISION_EXPLANATION,
    DECISION_HEADER,
    DECISION_METADATA,
    DECISION_REASON,
    EXPLAIN_HEADER,
    ROUTE_METADATA,
    TRIES,
    WAIT_HEADER,
    WORKLOAD_KEPT,
)
from limpet_extproc.contract.reasons import UNCHECKED
from limpet_operator.publish.direct_responses import NO_UNDECIDED
from limpet_operator.publish.encode import Json, set_header, typed_struct
from limpet_operator.publish.envoy_settings import EXT_PROC_WAIT_S, UNDECIDED_FILTER, EnvoySettings
from limpet_operator.publish.wait_levels import WaitLevel

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
    DEBUG_KEPT,
    WORKLOAD_KEPT,
    "x-request-id",
)

_NOT_FOR_CLIENTS: Final = ("x-envoy-ratelimited", ATTEMPT_HEADER, WAIT_HEADER)


def attempt_counts(settings: EnvoySettings) -> list[int]:
    """For how many attempts there are routes.

    Each provider may be tried twice; where a timeout moves on, once, and the first again to save its cache.
    """
    attempts = {TRIES * number for number in range(1, settings.max_attempts + 1)}
    return sorted(attempts | (set(range(1, settings.max_attempts + 2)) if settings.timeouts_move_on else set()))


def to_providers(
    match: Json, action: Json, settings: EnvoySettings, *, stream: bool = True, decided: bool = True
) -> Json:
    """A route to providers. `decided`: its requests have their decision already; others get one while they wait."""
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
            # Left out where it is empty, as it mostly is.
            set_header(CACHE_HEADER, f"%DYNAMIC_METADATA({DECISION_METADATA}:{DECISION_CACHE})%"),
            set_header(EXPLAIN_HEADER, f"%DYNAMIC_METADATA({DECISION_METADATA}:{DECISION_EXPLANATION})%"),
        ],
        "typed_per_filter_config": {UNDECIDED_FILTER: NO_UNDECIDED} if decided else {},
        "response_headers_to_remove": list(_NOT_FOR_CLIENTS),
        "route": {"timeout": "0s", **action},
    }


def unchecked(match: Json, settings: EnvoySettings) -> Json:
    """A route for requests whose client has not been checked. It has no cluster; what it says, Lua says before."""
    return {
        "match": match,
        "request_body_buffer_limit": settings.body_limit_bytes,
        "direct_response": {"status": 503},
        "response_headers_to_add": [set_header(DECISION_HEADER, UNCHECKED)],
        "typed_per_filter_config": {},
    }


def in_order(order: list[str], attempts: int, silence: WaitLevel | None, settings: EnvoySettings) -> Json:
    """An action that tries these providers one after the other.

    `silence`: how long a streamed answer may be silent; None for whole answers, which the clusters limit.
    """
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


def until_decided(action: Json) -> Json:
    """The same action for a request that waits for its decision: that must not count as silence."""
    if "idle_timeout" not in action:
        return action
    longest_s = max(float(action["idle_timeout"].removesuffix("s")), EXT_PROC_WAIT_S + 1.0)
    return {**action, "idle_timeout": f"{longest_s}s"}


def same_provider_again(settings: EnvoySettings) -> Json:
    """A cluster header names one provider for all attempts, so only what cannot have reached it is retried."""
    longest_s = max(
        settings.longest_unstreamed_s, *(max(level.idle_s, level.first_byte_s) for level in settings.wait_levels)
    )
    return {
        "idle_timeout": f"{longest_s}s",
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 1},
    }


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
