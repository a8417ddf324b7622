"""Which share of requests each provider gets where each request is spread anew. Pure.

As `pick.spread` does it, without what was learned of speed and errors, which changes from minute to minute.
"""

from collections.abc import Sequence
from operator import mul

from limpet_extproc.decision.price import NEARLY_FREE_USD
from limpet_extproc.decision.snapshot import Candidate


def spread_shares(
    candidates: Sequence[Candidate], cold_usd: Sequence[float], within_percent: float, counts: Sequence[int] = ()
) -> list[float]:
    """For each its share by weight over price squared, if it is a near-equal of the cheapest; 1 together.

    `cold_usd`: dollars of the request at each, with nothing of it in the cache there; `counts`: how many there are of
    each, which all get this share; empty: one.
    """
    weights = [0 if each.drain else each.weight for each in candidates]
    if 0 not in weights:  # nearly always
        least = min(cold_usd)
    else:
        if not any(weights):
            weights = _where_none_is_usual(candidates)
        least = min([usd for usd, weight in zip(cold_usd, weights, strict=True) if weight])
    if least < NEARLY_FREE_USD:
        least = NEARLY_FREE_USD
        cold_usd = [max(usd, NEARLY_FREE_USD) for usd in cold_usd]
    limit = least * (1 + within_percent / 100)
    pulls = [
        weight / (usd * usd) if weight and usd <= limit else 0.0 for usd, weight in zip(cold_usd, weights, strict=True)
    ]
    total = sum(map(mul, pulls, counts)) if counts else sum(pulls)
    return [pull / total for pull in pulls]


def _where_none_is_usual(candidates: Sequence[Candidate]) -> list[int]:
    """Of those that take new requests, or else of all, those without a weight are as good as each other."""
    taking = [not each.drain for each in candidates]
    if any(taking):
        return [int(each) for each in taking]
    weights = [each.weight for each in candidates]
    return weights if any(weights) else [1] * len(weights)
