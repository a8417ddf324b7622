"""What tokens cost at a provider: prices, and what changes them."""

from collections.abc import Mapping

import msgspec


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """US dollars per million tokens of a model at a provider; `cache_write` equals `input` where writes are free."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    cache_write_long: float | None = None
    """Of what is kept for an hour or longer; None: as any other write."""

    @property
    def long_write(self) -> float:
        """What such a write costs."""
        return self.cache_write if self.cache_write_long is None else self.cache_write_long

    def times(self, factor: float) -> "Price":
        """All of them by this factor."""
        return Price(
            self.input * factor,
            self.output * factor,
            self.cache_read * factor,
            self.cache_write * factor,
            None if self.cache_write_long is None else self.cache_write_long * factor,
        )


class PriceTier(msgspec.Struct, frozen=True, array_like=True):
    """The price of all tokens of a request whose prompt is longer than so many."""

    above_tokens: int
    price: Price


class PriceWindow(msgspec.Struct, frozen=True, array_like=True):
    """Hours in which a model has another price."""

    name: str
    zone: str
    """Of the IANA database."""
    days: tuple[int, ...]
    """On which it begins; Monday is 0."""
    from_minute: int
    """Of the day, by the zone's clocks."""
    to_minute: int
    """At which it ends; on the next day if that is not after `from_minute`."""
    price: Price
    tiers: tuple[PriceTier, ...] = ()


class PriceRules(msgspec.Struct, frozen=True):
    """What changes the price of a model at a provider."""

    tiers: tuple[PriceTier, ...] = ()
    """By `above_tokens`, ascending."""
    windows: tuple[PriceWindow, ...] = ()
    """The first that holds counts."""
    service_tiers: Mapping[str, float] = {}
    """Factors on all prices by the `service_tier` that a request names, such as `flex`; 1 where it is absent."""


class PriceNow(msgspec.Struct, frozen=True, gc=False):
    """The prices of a model at an instant."""

    price: Price
    tiers: tuple[PriceTier, ...] = ()
    window: str = ""
    """Name of the window that holds; empty: none does."""
    until_s: float = float("inf")
    """Unix seconds at which that changes; infinite if it never does."""


class NextPrice(msgspec.Struct, frozen=True, gc=False):
    """When the price of a model at a provider changes next."""

    at_s: float
    """Unix seconds."""
    price: Price
    """From then on, of a prompt below all tiers."""
