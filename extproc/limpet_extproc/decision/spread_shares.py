"""Which share of requests each provider gets where each request is spread anew. Pure.

As `pick.spread` does it, without what was learned of speed and errors, which changes from minute to minute.
"""

from collections.abc import Sequence
from typing import Final

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.price import turn_usd
from limpet_extproc.decision.snapshot import Candidate

Priced = tuple[Candidate, Price]
"""A provider, with the prices that count for the request."""

_NEARLY_FREE_USD: Final = 1e-9
"""A price of zero is a real one, but nothing can be divided by it."""


def spread_shares(
    priced: Sequence[Priced], prompt_tokens: int, output_tokens: int, within_percent: float
) -> list[tuple[Priced, float]]:
    """The near-equals of the cheapest, each with its share by weight over price squared; 1 together."""
    taking = [each for each in priced if not each[0].drain] or list(priced)
    weighty = [each for each in taking if each[0].weight] or taking
    usd = [max(turn_usd(price, prompt_tokens, 0, output_tokens), _NEARLY_FREE_USD) for _, price in weighty]
    limit = min(usd) * (1 + within_percent / 100)
    pulls = [
        (each, max(each[0].weight, 1) / (cold_usd * cold_usd))
        for each, cold_usd in zip(weighty, usd, strict=True)
        if cold_usd <= limit
    ]
    total = sum(pull for _, pull in pulls)
    return [(each, pull / total) for each, pull in pulls]
