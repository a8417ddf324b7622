"""Which share of requests each provider gets where each request is spread anew. Pure.

As `pick.spread` does it, without what was learned of speed and errors, which changes from minute to minute.
"""

from collections.abc import Sequence

import msgspec

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.price import NEARLY_FREE_USD
from limpet_extproc.decision.snapshot import Candidate


class Priced(msgspec.Struct, frozen=True, gc=False):
    """A provider as a choice for one request."""

    candidate: Candidate
    price: Price
    """That counts for the request."""
    cold_usd: float
    """Of the request with nothing of it in the cache there."""


def spread_shares(priced: Sequence[Priced], within_percent: float) -> list[tuple[Priced, float]]:
    """The near-equals of the cheapest, each with its share by weight over price squared; 1 together."""
    taking = [each for each in priced if not each.candidate.drain] or priced
    weighty = [each for each in taking if each.candidate.weight] or taking
    limit = max(min([each.cold_usd for each in weighty]), NEARLY_FREE_USD) * (1 + within_percent / 100)
    near = [each for each in weighty if each.cold_usd <= limit]
    pulls = [max(each.candidate.weight, 1) / max(each.cold_usd, NEARLY_FREE_USD) ** 2 for each in near]
    total = sum(pulls)
    return [(each, pull / total) for each, pull in zip(near, pulls, strict=True)]
