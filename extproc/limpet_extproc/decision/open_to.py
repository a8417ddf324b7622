"""Who else an answered request could have gone to, and at which prices. Pure.

Of many providers those that cost the same are one, and those that cost nearly the same: what is reckoned from this is
an expectation over all of them, which a request must not have to reckon for each.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.pool import Pool
from limpet_extproc.decision.price import NEARLY_FREE_USD, PER_MTOK, price_for
from limpet_extproc.decision.snapshot import Candidate, Lane

_NOBODY: Final[frozenset[str]] = frozenset()

OpenTo: TypeAlias = tuple[Sequence[Candidate], Sequence[Price], Sequence[int]]
"""The candidates, the prices of the request there, and how many each of them stands for; empty: one."""


def open_to(
    lane: Lane, candidate: Candidate, price: Price, record: Record, prompt_tokens: int, output_tokens: int
) -> OpenTo:
    """Of a request that went to this candidate for this price, which is one of them.

    Whatever costs least without a cache is in it by itself, and so are those that the request might have tried.
    """
    pool = lane.pools.of(lane.candidates)
    if pool is not None and not pool.is_varied:
        return _of_kinds(pool, candidate, price, record, prompt_tokens)
    if pool is not None and (found := _of_groups(lane, pool, candidate, record, prompt_tokens, output_tokens)):
        return found
    if lane.plain_prices and not record.excluded:  # nearly all requests
        return lane.candidates, lane.plain_prices, ()
    others: list[Candidate] = []
    prices: list[Price] = []
    for each in lane.candidates:
        if each is candidate or each.provider not in record.excluded:
            its_price = price if each is candidate else price_for(each, prompt_tokens, record.service_tier)
            if its_price is not None:
                others.append(each)
                prices.append(its_price)
    return others, prices, ()


def _of_kinds(pool: Pool, candidate: Candidate, price: Price, record: Record, prompt_tokens: int) -> OpenTo:
    """The same of many: one for all that cost the same, but for those of whose caches more is known."""
    others: list[Candidate] = []
    prices: list[Price] = []
    counts: list[int] = []
    for _, each, count, kind in pool.entries({candidate.provider, *record.order, *record.excluded}):
        if kind >= 0 or each is candidate or each.provider not in record.excluded:
            its_price = price if each is candidate else price_for(each, prompt_tokens, record.service_tier)
            if its_price is not None:
                others.append(each)
                prices.append(its_price)
                counts.append(count)
    return others, prices, counts


def _of_groups(
    lane: Lane, pool: Pool, candidate: Candidate, record: Record, prompt_tokens: int, output_tokens: int
) -> OpenTo | None:
    """The same of many at prices of their own: one for all that cost nearly the same, but for the cheapest too.

    Where only some of those are near-equals, they are apart as well. None: it takes all of them to tell.
    """
    if not lane.plain_prices or lane.zero_weights or not (prompt_tokens and output_tokens):
        return None
    passed_over, served = record.excluded, candidate.provider
    cheapest = pool.cheapest(1, {*passed_over, *lane.draining} if passed_over or lane.draining else ())
    if not cheapest:
        return None
    near = cheapest if candidate.drain else [*cheapest, candidate]
    least_usd = PER_MTOK * min(
        [
            prompt_tokens * price.input + output_tokens * price.output
            for each in near
            if (price := each.price) is not None
        ]
    )
    if least_usd < NEARLY_FREE_USD:
        return None
    names = frozenset((served, *record.order, *lane.draining, *[each.provider for each in cheapest]))
    left_out = _NOBODY
    if passed_over:
        left_out = frozenset(passed_over).difference((served,))
        names = names.difference(left_out)
    beside = pool.groups.beside(names, left_out)
    limit = least_usd * (1 + lane.policy.spread_within_percent / 100) / PER_MTOK
    if prompt_tokens * beside.most_input + output_tokens * beside.most_output <= limit:
        return beside.candidates, beside.prices, beside.counts  # all of them are near-equals
    others, counts = [*beside.alone], [1] * len(beside.alone)
    for group, mean, left in beside.groups:
        least, most = group.least, group.most
        if prompt_tokens * most.input + output_tokens * most.output <= limit:
            others.append(mean)
            counts.append(left)
        elif prompt_tokens * least.input + output_tokens * least.output <= limit:
            others += [each for each in group.members if each.provider not in names and each.provider not in left_out]
            counts += [1] * left
        # The request would not have been spread to any of the rest.
    return others, [each.price for each in others if each.price is not None], counts
