"""What tokens cost at a provider, in US dollars. An unknown price stays unknown; it is never free."""

from bisect import bisect_left
from operator import attrgetter
from typing import Final

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.snapshot import Candidate

BYTES_PER_TOKEN: Final = 3.0
"""Between English prose (about 4) and code, JSON and other scripts (2 to 3). Guessing high on tokens costs nothing
where a cache has a minimum: a conversation that stays although its prompt is below is no worse off; one that moves
although it is above pays full price. For the tiers of a price it is corrected (`token_rate`)."""

DEFAULT_OUTPUT_TOKENS: Final = 400
"""Expected length of an answer when the client sets no limit below it."""

LONG_S: Final = 3600.0
"""A lifetime from which on a write to the cache has a price of its own, where it has one (`Price.cache_write_long`)."""

_USUAL_PROMPT_TOKENS: Final = 10_000
_USUAL_WARM_TOKENS: Final = 9_000
"""A turn of a conversation that has gone on for a while: most of it is warm."""

PER_MTOK: Final = 1e-6
"""Prices are those of a million tokens."""

NEARLY_FREE_USD: Final = 1e-9
"""The least that counts as a cost: a price of zero is a real one (a free tier), but nothing can be divided by it."""

_ABOVE_TOKENS: Final = attrgetter("above_tokens")


def price_for(
    candidate: Candidate,
    prompt_tokens: float,
    service_tier: str = "",
    *,
    writes: bool = True,
    long_write: bool = False,
) -> Price | None:
    """What this model's tokens cost at the provider now, for a prompt of that length; None: unknown.

    The tier of the prompt's length counts for all its tokens, those read from the cache too, and the factor of the
    service tier for all of them again (vendors' price lists, 2026). `cache_write` of the result is what each token
    costs that is not read from the cache: the price of the lifetime asked for, or that of input if nothing is written.
    """
    price = candidate.price
    if price is None or (writes and not (long_write or service_tier or candidate.tiers)):
        return price
    if candidate.tiers:
        passed = bisect_left(candidate.tiers, prompt_tokens, key=_ABOVE_TOKENS)
        price = candidate.tiers[passed - 1].price if passed else price
    factor = candidate.service_tiers.get(service_tier, 1.0) if service_tier else 1.0
    write = price.input if not writes else price.long_write if long_write else price.cache_write
    if write != price.cache_write:
        price = Price(price.input, price.output, price.cache_read, write, price.cache_write_long)
    return price if factor == 1.0 else price.times(factor)


def turn_usd(price: Price, prompt_tokens: float, warm_tokens: float, output_tokens: float) -> float:
    """Dollars for one request where the first `warm_tokens` of its prompt are warm, if it is as long as that."""
    if warm_tokens > prompt_tokens:
        warm_tokens = prompt_tokens
    return PER_MTOK * (
        warm_tokens * price.cache_read
        + (prompt_tokens - warm_tokens) * price.cache_write
        + output_tokens * price.output
    )


def usual_usd(price: Price) -> float:
    """Dollars for a usual turn of a conversation: what compares two providers by their prices alone."""
    return turn_usd(price, _USUAL_PROMPT_TOKENS, _USUAL_WARM_TOKENS, DEFAULT_OUTPUT_TOKENS)
