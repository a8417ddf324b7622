"""Prices that turn by the clock: which hold now, and which lanes follow."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model, Policy
from limpet_extproc.contract.prices import Price, PriceRules, PriceTier, PriceWindow
from limpet_extproc.decision.price import price_for
from limpet_extproc.decision.prices_now import NO_WINDOWS, prices_now
from limpet_extproc.decision.snapshot import Lane, Snapshot, repriced, snapshot

USUAL, PEAK, LONG, LONG_PEAK = (Price(usd, 4 * usd, usd / 10, usd) for usd in (1.0, 2.0, 3.0, 6.0))
WEEKDAYS = (0, 1, 2, 3, 4)
MORNING = PriceWindow("peak", "UTC", WEEKDAYS, 60, 240, PEAK, (PriceTier(200_000, LONG_PEAK),))
NIGHT = PriceWindow("night", "Asia/Shanghai", (0, 1, 2, 3, 4, 5, 6), 23 * 60, 60, PEAK)


def at(day: int, hour: int, minute: int = 0, second: float = 0.0) -> float:
    """Unix time on a day of November 2026, UTC; the 2nd is a Monday."""
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC).timestamp() + second


def provider(name: str, *windows: PriceWindow, tiers: tuple[PriceTier, ...] = ()) -> CatalogProvider:
    return CatalogProvider(name, (Model("flash", "flash", 0, USUAL, price_rules=PriceRules(tiers, windows)),))


def catalog(*providers: CatalogProvider) -> Catalog:
    return Catalog("r", providers, (Policy(),))


WITH_PEAK = catalog(provider("peaky", MORNING, tiers=(PriceTier(200_000, LONG),)), provider("steady"))


def input_usd(tables: Snapshot, name: str = "peaky", tokens: int = 10) -> float:
    price = price_for(tables.lanes["OpenAIChat", "flash"].by_provider[name], tokens)
    assert price is not None
    return price.input


def test_prices_follow_the_hours_to_the_second_and_tiers_with_them() -> None:
    tables, seen = snapshot(WITH_PEAK, now_s=at(2, 0)), []
    for now_s in (at(2, 0, 59, 59.9), at(2, 1), at(2, 3, 59, 59.9), at(2, 4), at(7, 2), at(9, 1)):
        tables = repriced(tables, now_s)
        seen.append((input_usd(tables), input_usd(tables, tokens=300_000), input_usd(tables, "steady")))
    usual, peak = (1.0, 3.0, 1.0), (2.0, 6.0, 1.0)
    assert seen == [usual, peak, peak, usual, usual, peak]


def test_between_two_turns_nothing_is_made_anew() -> None:
    tables = snapshot(WITH_PEAK, now_s=at(2, 0))
    assert repriced(tables, at(2, 0, 59)) is tables
    assert tables.prices.until_s == at(2, 1)
    plain = snapshot(catalog(provider("steady")), now_s=at(2, 0))
    assert plain.prices is NO_WINDOWS
    assert repriced(plain, at(29, 0)) is plain


def test_only_the_lanes_whose_prices_change_are_made_anew() -> None:
    other = CatalogProvider("other", (Model("pro", "pro", 0, USUAL),), ("OpenAIChat", "AnthropicMessages"))
    before = snapshot(catalog(*WITH_PEAK.providers, other), now_s=at(2, 0))
    after = repriced(before, at(2, 1))
    assert {key for key, lane in after.lanes.items() if lane is before.lanes[key]} == {
        ("OpenAIChat", "pro"),
        ("AnthropicMessages", "pro"),
    }
    assert (after.revision, after.serving, after.policies) == (before.revision, before.serving, before.policies)


def test_a_clock_that_is_set_back_brings_back_the_prices_of_that_hour() -> None:
    tables = repriced(snapshot(WITH_PEAK, now_s=at(2, 2)), at(1, 12))
    assert input_usd(tables) == 1.0
    assert tables.prices.until_s == at(2, 1)


def test_without_an_hour_the_usual_prices_hold() -> None:
    assert input_usd(snapshot(WITH_PEAK)) == 1.0
    assert input_usd(snapshot(WITH_PEAK, snapshot(WITH_PEAK, now_s=at(2, 2)))) == 1.0


@pytest.mark.parametrize(("day", "hour", "window"), [(2, 2, "peak"), (2, 15, "night"), (2, 17, ""), (2, 16, "night")])
def test_the_window_that_holds_is_known_by_name(day: int, hour: int, window: str) -> None:
    held = prices_now(catalog(provider("a", MORNING, NIGHT)).providers, at(day, hour))
    assert held.windowed["a", "flash"].now.window == window


def test_an_unknown_price_has_no_windows() -> None:
    unpriced = CatalogProvider("a", (Model("flash", "flash", price_rules=PriceRules(windows=(MORNING,))),))
    tables = snapshot(catalog(unpriced), now_s=at(2, 2))
    assert tables.lanes["OpenAIChat", "flash"].candidates[0].price is None


PROVIDERS = st.lists(
    st.builds(
        provider, st.sampled_from("abc"), st.sampled_from([MORNING, NIGHT, msgspec.structs.replace(MORNING, days=(6,))])
    )
    | st.builds(provider, st.sampled_from("abc")),
    unique_by=lambda each: each.name,
).map(tuple)
TIMES = st.floats(at(1, 0), at(29, 0))


def lanes(tables: Snapshot) -> Mapping[tuple[str, str], Lane]:
    return dict(tables.lanes)


@given(before=PROVIDERS, now=PROVIDERS, hours=st.lists(TIMES, min_size=1, max_size=5))
def test_whatever_came_before_the_prices_are_those_of_the_hour(
    before: tuple[CatalogProvider, ...], now: tuple[CatalogProvider, ...], hours: list[float]
) -> None:
    tables = snapshot(catalog(*before), now_s=hours[0])
    tables = snapshot(catalog(*now), tables, now_s=hours[0])
    for hour in hours:
        tables = repriced(tables, hour)
        assert lanes(tables) == lanes(snapshot(catalog(*now), now_s=hour))
