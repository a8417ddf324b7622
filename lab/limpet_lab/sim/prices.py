"""What a seller charges at an hour, for a prompt of a length, at the service tier that a request names.

A seller counts by itself: this shares no code with what Limpet expects a request to cost, so that its bills can tell
whether that was right.
"""

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Rates(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """US dollars per million tokens."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    """None: a read costs what input costs."""
    cache_write: Decimal | None = None
    """None: a write costs what input costs."""
    cache_write_1h: Decimal | None = msgspec.field(default=None, name="cacheWrite1h")
    """Of what stays for an hour or longer. None: as any other write."""

    def times(self, factor: Decimal) -> "Rates":
        """All of them by this factor."""
        return Rates(
            self.input * factor,
            self.output * factor,
            None if self.cache_read is None else self.cache_read * factor,
            None if self.cache_write is None else self.cache_write * factor,
            None if self.cache_write_1h is None else self.cache_write_1h * factor,
        )


class OtherRates(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What counts in place of other prices: a factor on all of them, or prices of its own."""

    factor: Decimal | None = None
    per_million_tokens: Rates | None = None

    def __post_init__(self) -> None:
        """Refuse both and none."""
        if (self.factor is None) == (self.per_million_tokens is None):
            raise ValueError("write either factor or perMillionTokens")
        if self.factor is not None and self.factor < 0:
            raise ValueError("factor must not be negative")

    def over(self, rates: Rates) -> Rates:
        """In place of these."""
        return rates.times(self.factor) if self.factor is not None else self.per_million_tokens or rates


class LongPrompt(OtherRates, frozen=True, kw_only=True):
    """Counts for all tokens of a request whose prompt is longer than so many."""

    above_tokens: int


class PricedHours(OtherRates, frozen=True, kw_only=True):
    """Counts while the clocks of the zone show a time from `from` on and before `to`.

    Across midnight if `to` is earlier. An hour that the clocks show twice counts twice, one that they skip does not.
    """

    name: str
    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    time_zone: str = "UTC"
    days: tuple[str, ...] = _DAYS
    """On which they begin."""
    long_context: tuple[LongPrompt, ...] | None = None
    """Under `perMillionTokens`. None: those of the list, as always under a factor, which multiplies them."""

    def __post_init__(self) -> None:
        """Refuse hours that no clock has."""
        super().__post_init__()
        if time.fromisoformat(self.start) == time.fromisoformat(self.end):
            raise ValueError("from and to must differ")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"timeZone {self.time_zone!r} is not known: name one such as Asia/Shanghai") from error
        if unknown := [day for day in self.days if day not in _DAYS]:
            raise ValueError(f"days: {unknown[0]!r} is none of {', '.join(_DAYS)}")

    def hold(self, at_s: float) -> bool:
        """Whether they count at these Unix seconds."""
        local = datetime.fromtimestamp(at_s, ZoneInfo(self.time_zone))
        now, start, end = local.time(), time.fromisoformat(self.start), time.fromisoformat(self.end)
        today, yesterday = (_DAYS[day.weekday()] for day in (local.date(), local.date() - timedelta(days=1)))
        if start < end:
            return start <= now < end and today in self.days
        return (now >= start and today in self.days) or (now < end and yesterday in self.days)


class PriceList(Rates, frozen=True):
    """The prices of a model, and what changes them."""

    long_context: tuple[LongPrompt, ...] = ()
    """The highest that a prompt is above counts."""
    windows: tuple[PricedHours, ...] = ()
    """The first that holds counts."""
    service_tiers: Mapping[str, Decimal] = {}
    """Factors by the `service_tier` of a request; any other costs what the list says."""

    def window_at(self, at_s: float) -> PricedHours | None:
        """The hours that count at these Unix seconds."""
        return next((window for window in self.windows if window.hold(at_s)), None)

    def charged(self, prompt_tokens: int, at_s: float, service_tier: object = None) -> Rates:
        """What each token of a request costs that arrives at these Unix seconds."""
        window = self.window_at(at_s)
        rates: Rates = self
        tiers, factor = self.long_context, Decimal(1)
        if window is not None and window.factor is not None:
            factor = window.factor
        elif window is not None:
            rates = window.over(self)
            tiers = tiers if window.long_context is None else window.long_context
        above = [tier for tier in tiers if prompt_tokens > tier.above_tokens]
        if above:
            rates = max(above, key=lambda tier: tier.above_tokens).over(rates)
        return rates.times(factor * self.service_tiers.get(str(service_tier), Decimal(1)))
