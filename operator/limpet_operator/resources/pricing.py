"""Pricing: what tokens cost at one provider, and in which time windows they cost something else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

from limpet_extproc.contract.prices import Price
from limpet_operator.resources.durations import parse_duration
from limpet_operator.resources.metadata import read_object
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.schema import KindSchema
from limpet_operator.resources.unused_fields import unused_fields


@dataclass(frozen=True, slots=True)
class PriceSource:
    """Where the prices were read, and on which day (`2026-11-20`), if that is given."""

    name: str
    retrieved: str | None


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Hours with other prices: exactly one of `factor` and `prices` is set; an end before the start is a day later."""

    name: str
    time_zone: str
    days: tuple[str, ...]
    start: time
    end: time
    factor: float | None
    prices: Mapping[str, Price] | None


@dataclass(frozen=True, slots=True)
class Pricing:
    """A price list. The price of a model that it does not list is unknown, which is never the same as free."""

    key: ObjectKey
    generation: int
    provider_ref: str
    currency: str
    source: PriceSource | None
    stale_after_s: float | None
    prices: Mapping[str, Price]
    windows: tuple[WindowSpec, ...]
    unused_fields: tuple[str, ...] = ()
    """Messages about fields that are set and have no effect in this version."""


def parse_pricing(raw: Mapping[str, Any], schema: KindSchema) -> Pricing | Invalid:
    """Reads a Pricing; everything that can be wrong with it alone is in its schema."""
    read = read_object(raw, schema)
    if isinstance(read, Invalid):
        return read
    metadata, spec = read
    source = spec.get("source")
    return Pricing(
        key=metadata.key,
        generation=metadata.generation,
        provider_ref=spec["providerRef"]["name"],
        currency=spec["currency"],
        source=None if source is None else PriceSource(source["name"], source.get("retrieved")),
        stale_after_s=parse_duration(spec["staleAfter"]) if "staleAfter" in spec else None,
        prices=_prices(spec["models"]),
        windows=tuple(map(_window, spec.get("windows", ()))),
        unused_fields=unused_fields("Pricing", spec),
    )


def _prices(models: Iterable[Mapping[str, Any]]) -> Mapping[str, Price]:
    return {model["name"]: _price(model["perMillionTokens"]) for model in models}


def _price(dollars: Mapping[str, str]) -> Price:
    # A price that is not set is neither a discount nor a surcharge: the token costs what an uncached one costs.
    plain = dollars["input"]
    return Price(
        input=float(plain),
        output=float(dollars["output"]),
        cache_read=float(dollars.get("cacheRead", plain)),
        cache_write=float(dollars.get("cacheWrite", plain)),
    )


def _window(spec: Mapping[str, Any]) -> WindowSpec:
    return WindowSpec(
        name=spec["name"],
        time_zone=spec["timeZone"],
        days=tuple(spec["days"]),
        start=time.fromisoformat(spec["from"]),
        end=time.fromisoformat(spec["to"]),
        factor=float(spec["factor"]) if "factor" in spec else None,
        prices=_prices(spec["models"]) if "models" in spec else None,
    )
