"""What a conversation is expected to cost at each candidate from this request on, in US dollars."""

from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import cache_ttl_s, is_cached, request_price
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.decision.worth import Outlook, TurnRates, cheapest_restart, total

_NEARLY_FREE_USD: Final = 1e-9
"""A price of zero is a real one (a free tier), but nothing can be divided by it."""

_PER_MTOK: Final = 1e-6

_ALL_UNKNOWN: Final = TurnRates(1.0, 1.0, 4.0, 0.0)
"""Where no price is known: what others made warm saves nothing that is known, so it draws nobody to one place."""


def totals_usd(candidates: Sequence[Candidate], query: Query, warmth: Warmth, outlook: Outlook) -> list[float]:
    """By `worth.total`. An unknown price counts as the dearest known one, and all unknown as equal; none is free."""
    rates = _rates(candidates, query, outlook)
    after = cheapest_restart(rates, outlook)
    warm = warmth.tokens
    return [
        max(_PER_MTOK * total(each, outlook, warm.get(candidate.provider, 0), after), _NEARLY_FREE_USD)
        for candidate, each in zip(candidates, rates, strict=True)
    ]


def _rates(candidates: Sequence[Candidate], query: Query, outlook: Outlook) -> list[TurnRates]:
    found = [_rates_of(candidate, query, outlook) for candidate in candidates]
    known = [rates for rates in found if rates is not None]
    if len(known) == len(found):
        return known
    prompt, output = outlook.prompt_tokens, outlook.output_tokens
    dearest = max(known, key=lambda each: each.write * prompt + each.output * output, default=_ALL_UNKNOWN)
    return [
        msgspec.structs.replace(dearest, lasts=_lasts(candidate, query, outlook)) if rates is None else rates
        for candidate, rates in zip(candidates, found, strict=True)
    ]


def _rates_of(candidate: Candidate, query: Query, outlook: Outlook) -> TurnRates | None:
    price = request_price(candidate, query)
    if price is None:
        return None
    return TurnRates(price.cache_write, price.cache_read, price.output, _lasts(candidate, query, outlook))


def _lasts(candidate: Candidate, query: Query, outlook: Outlook) -> float:
    return outlook.lasts(cache_ttl_s(candidate, query)) if is_cached(candidate, query) else 0.0
