"""What a Pricing says about its models -> prices and the rules that change them, as the data plane gets them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import prod
from typing import Any, Final

from limpet_extproc.contract.price_windows import zone_named
from limpet_extproc.contract.prices import Price, PriceRules, PriceTier, PriceWindow

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
"""As a Pricing writes them, in the order in which `PriceWindow.days` counts."""


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """The hours of a window, as `PriceWindow` has them, and the models whose prices it changes."""

    name: str
    zone: str
    days: tuple[int, ...]
    from_minute: int
    to_minute: int
    models: frozenset[str] | None
    """None: all."""

    @property
    def zone_is_known(self) -> bool:
        """Whether its zone exists; without one it never holds."""
        return zone_named(self.zone) is not None


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """What a model costs outside of all windows, of a prompt below all tiers; and what changes that."""

    price: Price
    rules: PriceRules


def read_window(spec: Mapping[str, Any]) -> WindowSpec:
    """An item of `spec.windows`."""
    return WindowSpec(
        name=spec["name"],
        zone=spec["timeZone"],
        days=tuple(sorted(map(DAYS.index, spec["days"]))),
        from_minute=_minute(spec["from"]),
        to_minute=_minute(spec["to"]),
        models=frozenset(model["name"] for model in spec["models"]) if "models" in spec else None,
    )


def read_prices(spec: Mapping[str, Any], windows: Sequence[WindowSpec]) -> Mapping[str, ModelPrices]:
    """By model; `windows` are those of this spec. Those of an unknown zone are left out."""
    known = [(raw, read) for raw, read in zip(spec.get("windows", ()), windows, strict=True) if read.zone_is_known]
    priced = [(raw, read, {each["name"]: each for each in raw.get("models", ())}) for raw, read in known]
    return {
        usual["name"]: _model_prices(
            usual,
            [
                (raw, read, of_model.get(usual["name"]))
                for raw, read, of_model in priced
                if read.models is None or usual["name"] in read.models
            ],
        )
        for usual in spec["models"]
    }


def _model_prices(
    usual: Mapping[str, Any], windows: Iterable[tuple[Mapping[str, Any], WindowSpec, Mapping[str, Any] | None]]
) -> ModelPrices:
    dollars, above = usual["perMillionTokens"], usual.get("longContext", ())
    made = []
    for raw, read, own in windows:
        if own is None:
            held, held_tiers = _price(dollars, raw["factor"]), _tiers(dollars, above, raw["factor"])
        else:
            held = _price(own["perMillionTokens"])
            held_tiers = _tiers(own["perMillionTokens"], own.get("longContext", above))
        made.append(PriceWindow(read.name, read.zone, read.days, read.from_minute, read.to_minute, held, held_tiers))
    services = {each["name"]: float(each["factor"]) for each in usual.get("serviceTiers", ())}
    return ModelPrices(_price(dollars), PriceRules(_tiers(dollars, above), tuple(made), services))


def _tiers(
    dollars: Mapping[str, str], long_context: Iterable[Mapping[str, Any]], *factors: str
) -> tuple[PriceTier, ...]:
    tiers = (
        PriceTier(
            each["aboveTokens"],
            _price(dollars, each["factor"], *factors)
            if "factor" in each
            else _price(each["perMillionTokens"], *factors),
        )
        for each in long_context
    )
    return tuple(sorted(tiers, key=lambda tier: tier.above_tokens))


def _price(dollars: Mapping[str, str], *factors: str) -> Price:
    # Multiplied as the decimal numbers that they are: 0.1 times 3 is 0.3, which a client may name as its limit.
    times = prod(map(Decimal, factors), start=Decimal(1))

    def usd(text: str) -> float:
        return float(Decimal(text) * times)

    # A price that is not set is neither a discount nor a surcharge: the token costs what an uncached one costs.
    plain = dollars["input"]
    return Price(
        input=usd(plain),
        output=usd(dollars["output"]),
        cache_read=usd(dollars.get("cacheRead", plain)),
        cache_write=usd(dollars.get("cacheWrite", plain)),
        cache_write_long=usd(dollars["cacheWrite1h"]) if "cacheWrite1h" in dollars else None,
    )


def _minute(clock: str) -> int:
    """Of the day; the time is written as 09:00."""
    return int(clock[:2]) * 60 + int(clock[3:])
