"""What a conversation is expected to cost at each candidate from this request on, in US dollars."""

from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import cache_ttl_s, is_cached, request_price
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.decision.worth import Outlook, TurnRates, totals

_NEARLY_FREE_USD: Final = 1e-9
"""A price of zero is a real one (a free tier), but nothing can be divided by it."""

_PER_MTOK: Final = 1e-6

_ALL_UNKNOWN: Final = Price(1.0, 4.0, 1.0, 1.0)
"""Where no price is known: what others made warm saves nothing that is known, so it draws nobody to one place."""


def totals_usd(candidates: Sequence[Candidate], query: Query, warmth: Warmth, outlook: Outlook) -> list[float]:
    """By `worth.totals`. An unknown price counts as the dearest known one, and all unknown as equal; none is free.

    Of a conversation that is warm nowhere itself, the longest head that others have brought anywhere counts as kept
    warm by them for all its turns, once it is where it goes.
    """
    prices = _known([request_price(candidate, query) for candidate in candidates], outlook)
    lasts = _lasts(candidates, query, outlook)
    warm, head, output = warmth.tokens, 0, outlook.output_tokens
    if not warm:
        tokens = [0] * len(lasts)
    else:
        tokens = [warm.get(candidate.provider, 0) for candidate in candidates]
        if not warmth.own and (head := max(tokens)):
            return _with_head(prices, lasts, tokens, head, outlook)
    rates = [
        TurnRates(price.cache_write, price.cache_read, price.output * output, last)
        for price, last in zip(prices, lasts, strict=True)
    ]
    return [max(_PER_MTOK * total, _NEARLY_FREE_USD) for total in totals(rates, outlook, tokens)]


def _with_head(
    prices: Sequence[Price], lasts: Sequence[float], tokens: Sequence[int], head: int, outlook: Outlook
) -> list[float]:
    rest = msgspec.structs.replace(outlook, prompt_tokens=max(0.0, outlook.prompt_tokens - head))
    rates, brings = [], []
    for price, last, warm in zip(prices, lasts, tokens, strict=True):
        read = price.cache_read if last else price.cache_write
        rates.append(
            TurnRates(price.cache_write, price.cache_read, price.output * outlook.output_tokens + read * head, last)
        )
        brings.append((price.cache_write - read) * (head - warm))
    found = totals(rates, rest, [0] * len(rates))
    return [max(_PER_MTOK * (total + brought), _NEARLY_FREE_USD) for total, brought in zip(found, brings, strict=True)]


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
