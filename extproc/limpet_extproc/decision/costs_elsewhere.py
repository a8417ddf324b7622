"""What the same request with the same answer would have cost at another provider, with what was warm there. Pure."""

from limpet_extproc.contract.record import Record
from limpet_extproc.decision.bills import ReportedTokens, shared_prompt
from limpet_extproc.decision.price import PER_MTOK, price_for
from limpet_extproc.decision.snapshot import Candidate, Lane

_STAYS = frozenset({"sticky.hit", "sticky.pending", "sticky.within"})
"""Reasons by which mode Enforce leaves a conversation where it is."""


def usd_at(
    candidate: Candidate, record: Record, tokens: ReportedTokens, warm_tokens: float, lifetime_s: float
) -> float | None:
    """Dollars there, with so much of the prompt in its cache; None: its price is not known.

    `lifetime_s`: of its cache for this prompt; the rest is written to it as far as it was where the request went. 0: it
    keeps nothing of it.
    """
    prompt, price = tokens.prompt, candidate.price
    if candidate.tiers or record.service_tier:
        price = price_for(candidate, prompt, record.service_tier)
    if price is None:
        return None
    if warm_tokens > prompt:
        warm_tokens = prompt
    uncached = prompt - warm_tokens
    usd = uncached * price.input + warm_tokens * price.cache_read + tokens.output * price.output
    if lifetime_s > 0 and price.cache_write != price.input:
        unwritten = 0 if tokens.written is None else prompt - (tokens.cached or 0) - tokens.written
        if tokens.written or not candidate.cache_fields.free_unmarked:  # what was written was marked
            usd += max(0.0, uncached - unwritten) * (price.cache_write - price.input)
    return PER_MTOK * usd


def enforced_usd(lane: Lane, record: Record, provider: str, tokens: ReportedTokens, paid_usd: float) -> float | None:
    """Of a request in mode Observe that `provider` answered for `paid_usd`: dollars where Enforce would have sent it.

    Where Enforce would have stayed, the turn before is taken to have been there, too, so all that this prompt shares
    with it is warm; else what was expected there is. None: a price is not known, or nothing was observed.
    """
    candidate = lane.by_provider.get(record.enforce_provider)
    if candidate is None:
        return None
    if candidate.provider in record.order:
        at, evidence = record.order.index(candidate.provider), record.cache
        lifetime_s = record.ttls_s[at]
        warm_tokens = evidence.expected[at] if at < len(evidence.expected) else 0
    else:  # too far behind to be tried
        lifetime_s = candidate.cache_ttl_s if candidate.caches and tokens.prompt >= candidate.min_tokens else 0.0
        warm_tokens = 0
    if record.enforce_reason in _STAYS and record.before.turns and record.before.last_gap_s <= lifetime_s:
        warm_tokens = max(warm_tokens, shared_prompt(record, provider, tokens).shared_tokens)
    if candidate.provider == provider and (tokens.cached or 0) >= warm_tokens:
        return paid_usd
    return usd_at(candidate, record, tokens, warm_tokens, lifetime_s)
