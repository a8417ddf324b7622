"""What Envoy needs to tell a client the cost of its answer, for policies that show it (`x-limpet-cost`)."""

import msgspec

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.price import price_for, turn_usd
from limpet_extproc.decision.request_price import request_price
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.request.opened import Opened

LengthRates = tuple[float, float, float, float, float, float]
"""From a prompt longer than the first of these, dollars per million tokens of: input, what is read from the cache, what
is written to it, what is written for an hour or longer, output."""


class ShownCost(msgspec.Struct, frozen=True, gc=False):
    """Of one provider of the order."""

    provider: str
    expected_usd: float
    rates: tuple[LengthRates, ...]
    """By the length of the prompt, ascending."""


def shown_costs(opened: Opened, record: Record, output_tokens: int) -> tuple[ShownCost, ...]:
    """For each provider of the order whose price is known; an answer of `output_tokens` is expected."""
    lane, expected = opened.query.lane, record.cache.expected
    found = []
    for number, name in enumerate(record.order):
        candidate = lane.by_provider[name]
        price = request_price(candidate, opened.query)
        if price is not None:
            warm = expected[number] if number < len(expected) else 0
            usd = turn_usd(price, record.prompt_tokens, warm, output_tokens)
            found.append(ShownCost(name, usd, _rates(candidate, record.service_tier)))
    return tuple(found)


def _rates(candidate: Candidate, service_tier: str) -> tuple[LengthRates, ...]:
    steps = (0, *(tier.above_tokens for tier in candidate.tiers))
    priced = ((above, price_for(candidate, above + 1, service_tier)) for above in steps)
    return tuple([_row(above, price) for above, price in priced if price is not None])


def _row(above: int, price: Price) -> LengthRates:
    return (above, price.input, price.cache_read, price.cache_write, price.long_write, price.output)
