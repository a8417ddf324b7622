"""What new conversations are spread by: their own keys, or the head that they share with others.

Parallel first requests with one head then agree on a provider, on all replicas and without talking. Later ones find
where it is warm (`warmth`).
"""

from collections.abc import Sequence

from limpet_extproc.decision.prefix import FIRST_MESSAGE
from limpet_extproc.decision.price import DEFAULT_OUTPUT_TOKENS
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Candidate


def spread_seed(candidates: Sequence[Candidate], query: Query) -> bytes:
    """The hash of the shortest head that is worth keeping together, else the conversation's key.

    That it is read from a cache has to save more of a first turn's price than what near-equals differ by, at the
    cheapest candidate. It depends on how the conversation began alone: its later turns have the same seed. Without a
    price nobody knows whether it is worth that.
    """
    chain = query.chain
    if not chain.heads or len(chain.tokens) <= FIRST_MESSAGE:
        return query.key
    pool = query.lane.pools.of(candidates)
    if pool is not None:
        candidates = [entry.candidate for entry in pool.entries()]
    prices = [each.price for each in candidates if each.price is not None and each.caches]
    if not prices:
        return query.key
    price = min(prices, key=lambda each: each.input)
    first_turn = chain.tokens[FIRST_MESSAGE] * price.cache_write + DEFAULT_OUTPUT_TOKENS * price.output
    percent = query.lane.policy.spread_within_percent
    least_saving = first_turn * percent / (100 + percent)
    saving = price.cache_write - price.cache_read
    for head in chain.heads:
        if head.tokens > chain.tokens[FIRST_MESSAGE]:
            break  # it has some of what came later
        if head.tokens * saving > least_saving:
            return head.hash
    return query.key
