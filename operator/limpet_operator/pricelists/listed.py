"""What an open price list says, whatever its shape: dollars per million tokens, by provider and model of the list."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any, Final

from limpet_operator.resources.problem import shown

_MOST: Final = Decimal(9_999_999)
_MOST_FACTOR: Final = 9999
_ROUNDED: Final = Decimal("1.02")
_PLACES: Final = Decimal("0.000000001")
_LONGEST_NUMBER: Final = 64
"""In characters, of a price that is written as text."""
MOST_TOKENS: Final = 100_000_000
"""More than any prompt has; the CRD takes no more."""
ONE: Final = Decimal(1)


class UnusableListError(Exception):
    """The file is no price list that can be read; the message says what it should be."""


@dataclass(frozen=True, slots=True)
class ListedRates:
    """US dollars per million tokens; None: the list has no such price."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_long: Decimal | None = None
    """Of what stays for an hour or longer."""

    def factor_to(self, other: "ListedRates") -> Decimal | None:
        """By what all prices differ that both name, to four places; None: by more than one, or by none of a Pricing.

        Vendors round their prices, so factors that are within two percent of each other are one. One that four places
        can't say as exactly as that, such as 0.00001, is none.
        """
        pairs: list[tuple[Decimal | None, Decimal | None]]
        pairs = [(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)]
        factors = [theirs / ours for ours, theirs in pairs if ours is not None and theirs is not None and ours]
        if not factors or max(factors) > min(factors) * _ROUNDED:
            return None
        factor = round((min(factors) + max(factors)) / 2, 4)
        near = min(factors) <= factor * _ROUNDED and factor <= max(factors) * _ROUNDED
        return factor if near and 0 < factor <= _MOST_FACTOR else None


@dataclass(frozen=True, slots=True)
class ListedTier:
    """The prices of a request whose prompt is longer than so many tokens."""

    above_tokens: int
    rates: ListedRates


@dataclass(frozen=True, slots=True)
class ListedHours:
    """Hours with other prices, on the days on which they begin; `end` before `start`: on the next day."""

    days: tuple[str, ...]
    start: str
    end: str
    rates: ListedRates
    zone: str = "UTC"

    @property
    def when(self) -> tuple[tuple[str, ...], str, str, str]:
        """The hours alone: models that have the same share a window of a Pricing."""
        return self.days, self.start, self.end, self.zone


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model at one provider of the list."""

    rates: ListedRates
    tiers: tuple[ListedTier, ...] = ()
    hours: tuple[ListedHours, ...] = ()
    service_tiers: Mapping[str, Decimal] = field(default_factory=dict)
    """Factors."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What of a model of the list could not be taken over, and what that means."""

    provider: str
    model: str
    text: str


class ModelRemarks:
    """Takes the remarks about one model of the list."""

    def __init__(self, provider: str, model: str) -> None:
        self._provider, self._model = provider, model
        self.made: list[Remark] = []

    def add(self, text: str) -> None:
        """One more."""
        self.made.append(Remark(self._provider, self._model, text))

    def add_unread(self, names: Iterable[str]) -> None:
        """Prices of a kind that a Pricing does not have, by their names in the list."""
        if unread := sorted(names):
            self.add(f"a Pricing has no such price, so this is not in it: {', '.join(unread)}")


@dataclass(frozen=True, slots=True)
class OpenList:
    """A price list that was read. `name` is what its shape is known by."""

    name: str
    providers: Mapping[str, Mapping[str, ListedModel]]
    remarks: tuple[Remark, ...] = ()


class Repeated:
    """Stands for a member that an object of the list has twice, with different values."""

    def __str__(self) -> str:
        return "written twice"


def dollars(value: object, times: Decimal = ONE) -> Decimal | None:
    """A price of the list as dollars per million tokens; None: it is no price.

    `times`: from the list's unit. Texts are taken if they are numbers, as some lists write them so. What is not free
    is not rounded to nothing.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        return None
    try:
        price = Decimal(value)
        if not price.is_finite() or price < 0:
            return None
        price *= times
        if not price:
            return Decimal(0)
        return None if price > _MOST else max(price.quantize(_PLACES), _PLACES).normalize()
    except ArithmeticError:
        return None


def whole(value: object) -> int | None:
    """A number of tokens, which lists also write as 256000.0; None: it is none, or more than a prompt can have."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None


def price_of(cost: Mapping[str, Any], name: str, where: str, remarks: ModelRemarks, times: Decimal) -> Decimal | None:
    """The price that an object of the list has under this name; None, with a remark, where it is no price."""
    value = cost.get(name)
    if value is None:
        return None
    price = dollars(value, times)
    if price is None:
        remarks.add(f"{where}{name} is {shown(str(value)[:_LONGEST_NUMBER])}, which is no price: left out")
    return price


def complete(found: Mapping[str, Decimal], where: str, remarks: ModelRemarks) -> ListedRates | None:
    """Rates by the names of their fields; None, with a remark, without input or output: part of a price is none.

    Lists write that a write to the cache costs nothing where it costs nothing more than input. A read that costs
    nothing may as well be one whose price is not known, so it is not taken for free.
    """
    lacking = [name for name in ("input", "output") if name not in found]
    if lacking:
        remarks.add(f"{where}no price of {' and '.join(lacking)} in the list: left out")
        return None
    taken = dict(found)
    for written in ("cache_write", "cache_write_long"):
        if not taken.get(written, ONE):
            del taken[written]
    if taken["input"] and not taken.get("cache_read", ONE):
        remarks.add(f"{where}cache reads cost nothing in the list: left out, so a read costs what input costs")
        del taken["cache_read"]
    return ListedRates(**taken)


def part(found: Mapping[str, Decimal], base: ListedRates, where: str, remarks: ModelRemarks) -> ListedRates | None:
    """Rates of some requests of a model, as `complete` gives them; None, with a remark, where they are none.

    What costs something is not free for some of its requests: a 0 there is what the list does not know.
    """
    rates = complete(found, where, remarks)
    free = [] if rates is None else [each for each in ("input", "output") if getattr(base, each)]
    free = [each for each in free if not getattr(rates, each)]
    if free:
        verb = "cost" if len(free) > 1 else "costs"
        remarks.add(f"{where}{' and '.join(free)} {verb} nothing in the list: left out, so its usual prices count")
        return None
    return rates


def is_nothing(rates: ListedRates, remarks: ModelRemarks) -> bool:
    """Whether all is for nothing, which lists write for what is not billed by the token, too. With a remark."""
    if rates.input or rates.output:
        return False
    remarks.add("costs nothing in the list, which lists also write for what they do not know: left out")
    return True


def scaled(rates: ListedRates, base: ListedRates) -> ListedRates:
    """Rates of longer prompts, with the cache prices that they lack scaled as input is: vendors re-price these too."""

    def or_scaled(own: Decimal | None, usual: Decimal | None) -> Decimal | None:
        return dollars(usual * rates.input / base.input) if own is None and usual is not None and base.input else own

    return replace(
        rates,
        cache_read=or_scaled(rates.cache_read, base.cache_read),
        cache_write=or_scaled(rates.cache_write, base.cache_write),
        cache_write_long=or_scaled(rates.cache_write_long, base.cache_write_long),
    )
