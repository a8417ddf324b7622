"""What of the prices that are applied differs from what a list says of the same model.

Both sides may write the same prices in other words, such as peak hours at twice the price or other hours at half of
it. So what holds is compared, at every moment of a week at which either side changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from limpet_extproc.contract.catalog import Model
from limpet_extproc.contract.price_windows import price_at
from limpet_extproc.contract.prices import Price, PriceNow
from limpet_operator.pricelists.listed import ListedModel, ListedRates
from limpet_operator.pricelists.pricing import pricing_of
from limpet_operator.resources.model_prices import DAYS, ModelPrices, read_prices, read_window

_WEEK_S: Final = 7 * 86_400
_EXACT: Final = 1e-6
"""Relative; prices are decimal numbers that pass through floating point."""
_FIELDS: Final = (
    ("input", "input"),
    ("cache_read", "cacheRead"),
    ("cache_write", "cacheWrite"),
    ("cache_write_long", "cacheWrite1h"),
    ("output", "output"),
)


@dataclass(frozen=True, slots=True)
class _Moment:
    """What either side charges from a Unix time on."""

    at_s: float
    applied: PriceNow
    listed: PriceNow


def differences(applied: ModelPrices, listed: ListedModel, now_s: float) -> list[str]:
    """Each as a text; none if all that the list says holds. A price that the list does not have is not compared."""
    moments = list(_week(_model(applied), _model(_priced(listed)), now_s))
    at_moments = [list(_at(moment, listed)) for moment in moments]
    if not listed.hours and applied.rules.windows:
        # A list that knows no hours has the price of some of them.
        found = [] if any(not texts for texts in at_moments) else at_moments[0]
    else:
        found = list(_with_times(moments, at_moments))
    return [*found, *_services(applied, listed)]


def _week(applied: Model, listed: Model, now_s: float) -> Iterator[_Moment]:
    at_s = now_s
    while at_s < now_s + _WEEK_S:
        ours, theirs = price_at(applied, at_s), price_at(listed, at_s)
        if ours is None or theirs is None:
            return
        yield _Moment(at_s, ours, theirs)
        at_s = min(ours.until_s, theirs.until_s)


def _at(moment: _Moment, listed: ListedModel) -> Iterator[str]:
    yield from _prices(moment.applied.price, moment.listed.price, listed.rates, "")
    ours = {tier.above_tokens: tier.price for tier in moment.applied.tiers}
    theirs = {tier.above_tokens: tier.price for tier in moment.listed.tiers}
    rates = {tier.above_tokens: tier.rates for tier in listed.tiers}
    for above in sorted(ours.keys() | theirs.keys()):
        where = f"above {above:,} tokens "
        if above not in ours:
            yield f"{where}no price of its own and in the list input {theirs[above].input:.9g}"
        elif above not in theirs:
            yield f"{where}input {ours[above].input:.9g} and in the list no price of its own"
        else:
            yield from _prices(ours[above], theirs[above], rates[above], where)


def _prices(applied: Price, listed: Price, rates: ListedRates, where: str) -> Iterator[str]:
    unlike = []
    for field, name in _FIELDS:
        ours, theirs = (_charged(price, field) for price in (applied, listed))
        if getattr(rates, field) is not None and abs(ours - theirs) > _EXACT * max(ours, theirs):
            unlike.append((name, ours, theirs))
    if unlike:
        yield (
            f"{where}{', '.join(f'{name} {ours:.9g}' for name, ours, _ in unlike)}"
            f" and in the list {', '.join(f'{theirs:.9g}' for *_, theirs in unlike)}"
        )


def _charged(price: Price, field: str) -> float:
    value: float | None = getattr(price, field)
    return price.cache_write if value is None else value


def _with_times(moments: list[_Moment], at_moments: list[list[str]]) -> Iterator[str]:
    """Each difference once, and when, if not always."""
    times: dict[str, list[float]] = {}
    for moment, texts in zip(moments, at_moments, strict=True):
        for text in texts:
            times.setdefault(text, []).append(moment.at_s)
    for text, at_s in times.items():
        if len(at_s) == len(moments):
            yield text
        elif at_s[0] == moments[0].at_s:
            yield f"now {text}"
        else:
            first = datetime.fromtimestamp(at_s[0], UTC)
            yield f"from {DAYS[first.weekday()]} {first:%H:%M} UTC {text}"


def _services(applied: ModelPrices, listed: ListedModel) -> Iterator[str]:
    for name, factor in sorted(listed.service_tiers.items()):
        ours, theirs = applied.rules.service_tiers.get(name, 1.0), float(factor)
        if abs(ours - theirs) > _EXACT * max(ours, theirs):
            yield f"service_tier {name} times {ours:.9g} and in the list times {theirs:.9g}"


def _model(prices: ModelPrices) -> Model:
    return Model("", "", price=prices.price, price_rules=prices.rules)


def _priced(listed: ListedModel) -> ModelPrices:
    """As it would be applied."""
    spec = pricing_of("list", "", {"": listed}, "", "")["spec"]
    return read_prices(spec, tuple(map(read_window, spec.get("windows", ()))))[""]
