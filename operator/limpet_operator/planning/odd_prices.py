"""Which prices of a Pricing are allowed and yet seldom meant: for nothing at some hours, or dearer from the cache."""

from collections.abc import Iterator, Mapping
from typing import Final

from limpet_extproc.contract.prices import Price, PriceTier
from limpet_operator.resources.model_prices import ModelPrices

_SHOWN: Final = 3


def odd_prices(prices: Mapping[str, ModelPrices]) -> tuple[str, ...]:
    """Each kind as a text that names the first models; none if all are as prices are."""
    kinds = (
        ("costs nothing in a window, for a long prompt or for a service tier", _is_free_at_times),
        ("costs more from the cache than without it", _is_dearer_cached),
    )
    return tuple(
        f"{', '.join(models[:_SHOWN])}{' and more' if len(models) > _SHOWN else ''} {text}"
        for text, is_odd in kinds
        if (models := [name for name, priced in prices.items() if is_odd(priced)])
    )


def _is_dearer_cached(priced: ModelPrices) -> bool:
    return priced.price.cache_read > priced.price.input


def _is_free_at_times(priced: ModelPrices) -> bool:
    if _is_free(priced.price):
        return False
    return 0.0 in priced.rules.service_tiers.values() or any(map(_is_free, _other_prices(priced)))


def _is_free(price: Price) -> bool:
    return not price.input and not price.output


def _other_prices(priced: ModelPrices) -> Iterator[Price]:
    yield from _of(priced.rules.tiers)
    for window in priced.rules.windows:
        yield window.price
        yield from _of(window.tiers)


def _of(tiers: tuple[PriceTier, ...]) -> Iterator[Price]:
    return (tier.price for tier in tiers)
