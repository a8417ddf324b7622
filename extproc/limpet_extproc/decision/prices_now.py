"""Which prices hold now, of all models that have price windows. They turn by the clock, without a new catalog. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final

import msgspec

from limpet_extproc.contract.catalog import CatalogProvider, Model
from limpet_extproc.contract.price_windows import price_at
from limpet_extproc.contract.prices import NextPrice, Price, PriceNow, PriceTier


class WindowedModel(msgspec.Struct, frozen=True, gc=False):
    """A model with windows, and its prices at an instant."""

    model: Model
    at_s: float
    """Unix time."""
    now: PriceNow
    next_price: NextPrice | None
    """What comes after them; None: they stay."""

    def holds_at(self, now_s: float) -> bool:
        """Whether these are its prices at this Unix time, too; a clock that was set back is asked anew."""
        return self.at_s <= now_s < self.now.until_s


@dataclass(frozen=True, slots=True)
class PricesNow:
    """The prices of those that have windows; all others have the usual ones of the catalog."""

    windowed: Mapping[tuple[str, str], WindowedModel] = field(default_factory=dict)
    """By provider and model."""
    at_s: float = -inf
    until_s: float = inf
    """When the next window turns."""

    def hold_at(self, now_s: float) -> bool:
        """Whether they are those of this Unix time."""
        return self.at_s <= now_s < self.until_s

    def of(self, provider: str, model: Model) -> PriceNow | None:
        """Of one model; None: unknown."""
        if self.windowed and (found := self.windowed.get((provider, model.name))):
            return found.now
        return None if model.price is None else PriceNow(model.price, model.price_rules.tiers)

    def next_of(self, provider: str, model: Model) -> NextPrice | None:
        """When the price of one model changes next; None: it does not."""
        found = self.windowed.get((provider, model.name)) if self.windowed else None
        return None if found is None else found.next_price

    def differing(self, other: "PricesNow") -> frozenset[tuple[str, str]]:
        """Those whose prices are not the same in both."""
        keys = self.windowed.keys() | other.windowed.keys()
        return frozenset(key for key in keys if _prices(self.windowed.get(key)) != _prices(other.windowed.get(key)))


NO_WINDOWS: Final = PricesNow()


def _prices(one: WindowedModel | None) -> tuple[Price, tuple[PriceTier, ...], NextPrice | None] | None:
    return None if one is None else (one.now.price, one.now.tiers, one.next_price)


def prices_now(providers: Iterable[CatalogProvider], now_s: float, before: PricesNow = NO_WINDOWS) -> PricesNow:
    """The prices at this Unix time. `before` only saves work: that of models whose windows do not turn."""
    windowed: dict[tuple[str, str], WindowedModel] = {}
    for provider in providers:
        for model in provider.models:
            if not model.price_rules.windows:
                continue
            key = (provider.name, model.name)
            known = before.windowed.get(key)
            if known is not None and known.model is model and known.holds_at(now_s):
                windowed[key] = known
            elif (now := price_at(model, now_s)) is not None:
                windowed[key] = WindowedModel(model, now_s, now, _next_price(model, now.until_s))
    if not windowed:
        return NO_WINDOWS
    return PricesNow(windowed, now_s, min(each.now.until_s for each in windowed.values()))


def _next_price(model: Model, at_s: float) -> NextPrice | None:
    then = price_at(model, at_s) if at_s < inf else None
    return None if then is None else NextPrice(at_s, then.price)
