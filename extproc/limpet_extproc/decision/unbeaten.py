"""Which providers of a model no other one undercuts so far that a conversation would leave them for its price.

Known from the price lists alone, so that nearly all turns need no reckoning. Pure.
"""

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from limpet_extproc.decision.snapshot import Candidate

MARGIN: Final = 0.05
"""By which part of what staying costs another provider has to be cheaper: what is expected is an estimate, and each
change of provider leaves a cache behind."""


def unbeaten(candidates: Sequence["Candidate"]) -> frozenset[str]:
    """Those whose every price, less the margin, is at most any other's, and whose cache lives as long as any other's.

    Whatever comes, staying there then costs no more than a move has to save: each turn pays the same kinds of tokens
    here as elsewhere, or cheaper ones. None where prices depend on the length of the prompt, or change with the hour.
    """
    if any(each.tiers or each.next_price is not None for each in candidates):
        return frozenset()
    least_tokens = min((each.min_tokens for each in candidates if each.caches), default=0)
    write = read = output = inf
    longest_s = 0.0
    for each in candidates:
        price = each.price
        if price is not None:
            write = min(write, _least_write(each, least_tokens))
            read, output = min(read, price.cache_read), min(output, price.output)
            longest_s = max(longest_s, each.cache_ttl_s)
    kept = 1.0 - MARGIN
    return frozenset(
        each.provider
        for each in candidates
        if (price := each.price) is not None
        and price.cache_read <= price.cache_write  # or a warm cache would be a reason to leave
        and kept * price.cache_write <= write
        and kept * price.cache_read <= read
        and kept * price.output <= output
        and each.cache_ttl_s >= longest_s
    )


def _least_write(candidate: "Candidate", least_tokens: int) -> float:
    """What a token costs there at least that its cache does not have, of any prompt that some cache here takes."""
    price, fields = candidate.price, candidate.cache_fields
    if price is None:
        return inf
    always = candidate.caches and candidate.min_tokens <= least_tokens
    if always and not fields.only_marked and not fields.free_unmarked:
        return price.cache_write
    return min(price.input, price.cache_write)
