"""The closed lists of reasons: the words of response headers, metrics and logs, explained in docs/reasons.md."""

import re
from typing import Final, Literal, get_args

UnstickyReason = Literal[
    "unsticky.no_cache", "unsticky.below_minimum", "unsticky.no_breakpoint", "unsticky.no_discount"
]
"""Why staying at a provider would not pay."""

DecisionReason = (
    Literal[
        "sticky.hit",
        "sticky.pending",
        "sticky.within",
        "sticky.returned",
        "sticky.moved.cheaper",
        "sticky.expired",
        "sticky.left.degraded",
        "sticky.left.down",
        "sticky.left.failed",
        "sticky.left.over_limit",
        "sticky.left.not_candidate",
        "first.scored",
        "first.warm_head",
        "bypass.order",
        "bypass.only",
        "bypass.ignore",
        "bypass.sort",
        "bypass.allow_fallbacks",
        "off.spread",
        "observe.spread",
        "stateless.spread",
        "pinned.object",
        "placed.object",
        "last_resort.all_out",
    ]
    | UnstickyReason
)
"""Why a request went where it went."""

UndecidedReason = Literal["fallback.undecided"]
"""Of a request that Envoy routed by its own rules, because no worker answered."""

UNDECIDED: Final[UndecidedReason] = "fallback.undecided"

ExplainedAnswer = Literal["answered.explained"]

EXPLAINED: Final[ExplainedAnswer] = "answered.explained"
"""Of a request that asked what would become of it."""

OwnAnswer = Literal["answered.models", "answered.health", "answered.preflight"] | ExplainedAnswer
"""What the gateway answered itself, because no provider was asked for."""

WorkerRefusal = Literal[
    "refused.bad_request",
    "refused.content_encoding",
    "refused.debug",
    "refused.method",
    "refused.model_not_allowed",
    "refused.nobody_left",
    "refused.object_gone",
    "refused.over_key_limit",
    "refused.unauthorized",
    "refused.unknown_model",
    "refused.untranslatable",
]
"""Why ext_proc refused a request; Envoy does for the same reasons while no worker answers."""

EnvoyRefusal = (
    Literal[
        "refused.malformed",
        "refused.origin",
        "refused.unknown_path",
        "refused.too_slow",
        "refused.too_large",
        "refused.host",
        "refused.headers_too_large",
        "refused.no_provider",
        "refused.overloaded",
        "refused.unchecked",
        "refused.websocket",
    ]
    | WorkerRefusal
)
"""Why Envoy refused a request, before a provider was tried."""

UNCHECKED: Final[EnvoyRefusal] = "refused.unchecked"
"""Of a request that nobody may serve, because no worker has checked its client's key."""

EnvoyReason = OwnAnswer | UndecidedReason | EnvoyRefusal

Reason = DecisionReason | EnvoyReason
"""Everything that the decision header of a response may hold."""

ANSWERED: Final = "answered."
"""Begins every `OwnAnswer`."""

RuledOut = Literal[
    "ignored", "not_in_only", "not_in_order", "above_max_price", "data_policy", "demand_unknown", "untranslatable"
]
"""Why what the client demands or sends rules a provider out."""

Exclusion = Literal["not_candidate", "degraded", "down", "over_limit", "draining", "just_failed"] | RuledOut
"""Why a provider of the model was passed over."""


CacheCause = Literal[
    "hit",
    "partial",
    "ttl_expired",
    "provider_switched",
    "prefix_changed",
    "model_changed",
    "below_minimum",
    "parallel_first",
    "no_breakpoint",
    "cold_start",
    "provider_side",
    "unreported",
    "unknown",
]
"""What became of the read from a prompt cache that a request could expect, or why there was none to expect."""

CAUSE_TEXT: Final = re.compile(r"[a-z_]{1,20}(?:\([A-Za-z0-9_. ]{1,40}\))?")
"""One of these, with a detail perhaps: `prefix_changed(message 3)`."""


def words(reasons: object) -> tuple[str, ...]:
    """All words of one of these lists, which may be made of others."""
    nested = get_args(reasons)
    return tuple(word for each in nested for word in (words(each) or (each,)))
