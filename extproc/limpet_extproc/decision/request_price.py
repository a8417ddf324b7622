"""What caching one request comes to at a candidate: for how long, at which prices, and whether staying there pays."""

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.reasons import UnstickyReason
from limpet_extproc.decision.breakpoints import gets_mark
from limpet_extproc.decision.price import LONG_S, price_for
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.steering import Allowed, Steering, allowed_by


def request_price(candidate: Candidate, query: Query) -> Price | None:
    """The prices that count for this request there, as `price_for` gives them; None: unknown."""
    price = candidate.price
    if price is None or (
        not candidate.tiers
        and not (query.service_tier and candidate.service_tiers)
        and price.cache_write == price.input
        and price.cache_write_long is None
    ):
        return price  # whatever the request is: most vendors write for nothing, and have one price
    return price_for(
        candidate,
        query.tier_tokens,
        query.service_tier,
        writes=is_cached(candidate, query)
        and not (candidate.cache_fields.free_unmarked and not gets_mark(candidate, query)),
        long_write=(asked_ttl_s(candidate, query) or 0.0) >= LONG_S,
    )


def allowed_by_demands(steering: Steering, query: Query) -> Allowed:
    """Those of the lane that meet every demand of the client, `max_price` at what this request costs there."""
    return allowed_by(steering, query.lane, lambda candidate: request_price(candidate, query))


def is_cached(candidate: Candidate, query: Query, prompt_tokens: int = 0) -> bool:
    """Whether its cache takes this prompt, which counts as at least `prompt_tokens` long."""
    return (
        candidate.caches
        and max(query.prompt_tokens, prompt_tokens) >= candidate.min_tokens
        and not (candidate.cache_fields.only_marked and not gets_mark(candidate, query))
    )


def asked_ttl_s(candidate: Candidate, query: Query) -> float | None:
    """How long the request itself wants to be kept, where it says so in what this provider reads."""
    marks_s = None if candidate.cache_control == "None" else query.marks_ttl_s
    retention_s = query.retention_ttl_s if candidate.cache_fields.retention else None
    return retention_s if marks_s is None else min(marks_s, retention_s or marks_s)


def cache_ttl_s(candidate: Candidate, query: Query) -> float:
    """How long its cache keeps this prompt after the request began: by the policy, by the request, or as it does."""
    return query.lane.policy.memory_ttl_s or asked_ttl_s(candidate, query) or candidate.cache_ttl_s


def why_not_sticky(candidate: Candidate, query: Query) -> UnstickyReason | None:
    """None if staying at this provider pays, else the reason why it does not.

    Where the price is unknown it pays if the vendor caches at all: a self-hosted engine gains time to the first token.
    """
    if not candidate.caches:
        return "unsticky.no_cache"
    if query.prompt_tokens < candidate.min_tokens:
        return "unsticky.below_minimum"
    if candidate.cache_fields.only_marked and not gets_mark(candidate, query):
        return "unsticky.no_breakpoint"
    # A service tier changes no comparison of its prices.
    price = price_for(candidate, query.tier_tokens) if candidate.tiers else candidate.price
    if price is not None and price.cache_read >= price.input:
        return "unsticky.no_discount"
    return None
