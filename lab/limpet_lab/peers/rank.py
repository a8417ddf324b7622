"""In which order a gateway without stickiness tries providers: pure functions of prices, outages and a random seed.

Models of published behaviour, not measurements of a product. The source of OpenRouter's rule is its documentation,
`OpenRouterTeam/docs: guides/routing/provider-selection.mdx`, "Price-Based Load Balancing (Default Strategy)":

1. providers without a significant outage in the last 30 seconds come first,
2. among them one is drawn with a weight of the inverse square of its price,
3. the remaining ones are fallbacks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

from xxhash import xxh3_64_intdigest

OUTAGE_WINDOW_S: Final = 30.0
"""A provider that failed within this time is deprioritised. How many failures make an outage "significant" is not
published; here one does."""

_FREE: Final = 1e-9
"""Stands for a price of zero, by whose square nothing can be divided."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One provider's price for the model, in dollars per million input tokens."""

    provider: str
    usd: float


def weights(offers: Sequence[Offer]) -> dict[str, float]:
    """Each provider's chance of being drawn first: inverse square of the price, adding up to one."""
    raw = {offer.provider: max(offer.usd, _FREE) ** -2 for offer in offers}
    total = sum(raw.values())
    return {provider: weight / total for provider, weight in raw.items()}


def spread(offers: Sequence[Offer], random_seed: bytes) -> tuple[str, ...]:
    """A weighted draw without replacement: each request is a new one, and its order is that of the draw."""
    chance = weights(offers)
    return tuple(sorted(chance, key=lambda provider: _arrival(random_seed, provider, chance[provider])))


def balanced(
    offers: Sequence[Offer], failed_s: Mapping[str, float], now_s: float, random_seed: bytes
) -> tuple[str, ...]:
    """The default strategy quoted above; `failed_s` is when each provider last failed, if it ever did."""
    order = spread(offers, random_seed)
    unstable = {name for name, when_s in failed_s.items() if now_s - when_s < OUTAGE_WINDOW_S}
    return (*(name for name in order if name not in unstable), *(name for name in order if name in unstable))


def _arrival(random_seed: bytes, provider: str, weight: float) -> float:
    """Exponential arrival times: the first of them is each provider with the probability of its weight."""
    unit = (xxh3_64_intdigest(random_seed + provider.encode()) + 0.5) / 2.0**64
    return -log(unit) / weight
