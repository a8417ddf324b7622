"""Pricing: what tokens cost at one provider, and in which time windows they cost something else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from limpet_operator.resources.durations import parse_duration
from limpet_operator.resources.metadata import read_object
from limpet_operator.resources.model_prices import ModelPrices, WindowSpec, read_prices, read_window
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.schema import KindSchema

_LAST_DATE: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PriceSource:
    """Where the prices were read, and on which day (`2026-11-20`), if that is given."""

    name: str
    retrieved: str | None


@dataclass(frozen=True, slots=True)
class Pricing:
    """A price list. The price of a model that it does not list is unknown, which is never the same as free."""

    key: ObjectKey
    generation: int
    provider_ref: str
    currency: str
    source: PriceSource | None
    stale_after_s: float | None
    prices: Mapping[str, ModelPrices]
    """By model."""
    windows: tuple[WindowSpec, ...]

    @property
    def read_on(self) -> datetime | None:
        """The beginning, in UTC, of the day on which the prices were read; None: not given, or not a valid date."""
        if self.source is None or self.source.retrieved is None:
            return None
        try:
            return datetime.fromisoformat(self.source.retrieved).replace(tzinfo=UTC)
        except ValueError:
            return None

    @property
    def stale_at(self) -> datetime | None:
        """When the prices count as stale; None: never, or it is not known."""
        read = self.read_on
        if read is None or self.stale_after_s is None:
            return None
        age = timedelta(seconds=self.stale_after_s)
        return read + age if age < _LAST_DATE - read else _LAST_DATE  # no date lies behind it


def parse_pricing(raw: Mapping[str, Any], schema: KindSchema) -> Pricing | Invalid:
    """Reads a Pricing; everything that can be wrong with it alone is in its schema."""
    read = read_object(raw, schema)
    if isinstance(read, Invalid):
        return read
    metadata, spec = read
    source = spec.get("source")
    windows = tuple(map(read_window, spec.get("windows", ())))
    return Pricing(
        key=metadata.key,
        generation=metadata.generation,
        provider_ref=spec["providerRef"]["name"],
        currency=spec["currency"],
        source=None if source is None else PriceSource(source["name"], source.get("retrieved")),
        stale_after_s=parse_duration(spec["staleAfter"]) if "staleAfter" in spec else None,
        prices=read_prices(spec, windows),
        windows=windows,
    )
