"""What a conversation is expected to cost at each candidate from this request on, in US dollars."""

from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.price import NEARLY_FREE_USD, PER_MTOK
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import cache_ttl_s, is_cached, request_price
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.decision.worth import Outlook, TurnRates, totals

_ALL_UNKNOWN: Final = Price(1.0, 4.0, 1.0, 1.0)
"""Where no price is known: what others made warm saves nothing that is known, so it draws nobody to one place."""


def totals_usd(candidates: Sequence[Candidate], query: Query, warmth: Warmth, outlook: Outlook) -> list[float]:
    """What each costs: whether the conversation stays there or leaves it again, whichever is less."""
    return [min(both) for both in stays_and_leaves_usd(candidates, query, warmth, outlook)]


def stays_and_leaves_usd(
    candidates: Sequence[Candidate], query: Query, warmth: Warmth, outlook: Outlook
) -> list[tuple[float, float]]:
    """By `worth.totals`. An unknown price counts as the dearest known one, and all unknown as equal; none is free.

    Of a conversation that is warm nowhere itself, the longest head that others have brought anywhere counts as kept
    warm by them for all its turns, once it is where it goes.
    """
    prices = _known([request_price(candidate, query) for candidate in candidates], outlook)
    lasts = _lasts(candidates, query, outlook)
    warm, head = warmth.tokens, 0
    if not warm:
        tokens = [0] * len(lasts)
    else:
        tokens = [warm.get(candidate.provider, 0) for candidate in candidates]
        head = warmth.head_tokens if warmth.own else max(tokens)
    rates, later_rates = _rates(prices, lasts, head, outlook), None
    if any(candidate.next_price for candidate in candidates):
        later = [_later(candidate, price, outlook) for candidate, price in zip(candidates, prices, strict=True)]
        later_rates = _rates(later, lasts, head, outlook)
    if head:
        brings = [
            (price.cache_write - price.cache_read) * (head - there) if last and there < head else 0.0
            for price, last, there in zip(prices, lasts, tokens, strict=True)
        ]
        rest = msgspec.structs.replace(outlook, prompt_tokens=max(0.0, outlook.prompt_tokens - head))
        found = totals(rates, rest, [max(0, there - head) for there in tokens], later_rates)
        found = [(stays + brought, leaves + brought) for (stays, leaves), brought in zip(found, brings, strict=True)]
    else:
        found = totals(rates, outlook, tokens, later_rates)
    return [
        (max(PER_MTOK * stays, NEARLY_FREE_USD), max(PER_MTOK * leaves, NEARLY_FREE_USD)) for stays, leaves in found
    ]


def _rates(prices: Sequence[Price], lasts: Sequence[float], head: int, outlook: Outlook) -> list[TurnRates]:
    """`head`: tokens that each turn reads, or, where nothing is cached, pays for like others."""
    output = outlook.output_tokens
    return [
        TurnRates(
            price.cache_write,
            price.cache_read,
            price.output * output + head * (price.cache_read if last else price.cache_write),
            last,
        )
        for price, last in zip(prices, lasts, strict=True)
    ]


def _later(candidate: Candidate, price: Price, outlook: Outlook) -> Price:
    """What the turns after this one are expected to pay, where a price window turns before the last of them."""
    following = candidate.next_price
    if following is None or price is not candidate.price or following.at_s <= outlook.at_s:
        return price
    still, then = outlook.before(following.at_s), following.price
    return Price(
        still * price.input + (1 - still) * then.input,
        still * price.output + (1 - still) * then.output,
        still * price.cache_read + (1 - still) * then.cache_read,
        still * price.cache_write + (1 - still) * then.cache_write,
    )


def _known(prices: Sequence[Price | None], outlook: Outlook) -> list[Price]:
    known = [price for price in prices if price is not None]
    if len(known) == len(prices):
        return known
    prompt, output = outlook.prompt_tokens, outlook.output_tokens
    dearest = max(known, key=lambda each: each.cache_write * prompt + each.output * output, default=_ALL_UNKNOWN)
    return [dearest if price is None else price for price in prices]


def _lasts(candidates: Sequence[Candidate], query: Query, outlook: Outlook) -> list[float]:
    """For each, `Outlook.lasts`; 0 where its cache does not take this prompt."""
    as_usual = query.marks_ttl_s is None and query.retention_ttl_s is None and not query.lane.policy.memory_ttl_s
    by_ttl: dict[float, float] = {}
    found = []
    for candidate in candidates:
        if not is_cached(candidate, query):
            found.append(0.0)
            continue
        ttl_s = candidate.cache_ttl_s if as_usual else cache_ttl_s(candidate, query)
        last = by_ttl.get(ttl_s)
        if last is None:
            last = by_ttl[ttl_s] = outlook.lasts(ttl_s)
        found.append(last)
    return found
