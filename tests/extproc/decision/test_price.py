"""What tokens cost: by the length of the prompt, the service tier and the lifetime of what is written."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price, PriceRules, PriceTier
from limpet_extproc.decision.price import price_for, turn_usd, usual_usd
from limpet_extproc.decision.snapshot import Candidate

PRICE = Price(input=1.0, output=4.0, cache_read=0.1, cache_write=1.25)
LONGER = Price(input=2.0, output=6.0, cache_read=0.2, cache_write=2.5, cache_write_long=4.0)
LONGEST = Price(input=3.0, output=9.0, cache_read=0.3, cache_write=3.0)
RULES = PriceRules(
    (PriceTier(200_000, LONGER), PriceTier(500_000, LONGEST)), service_tiers={"flex": 0.5, "priority": 2.0}
)
BASE = msgspec.structs.replace(PRICE, cache_write_long=2.0)


@pytest.mark.parametrize(
    ("prompt", "warm", "output", "usd"),
    [
        (0, 0, 0, 0.0),
        (1_000_000, 0, 0, 1.25),  # a cold prompt is written to the cache
        (0, 0, 1_000_000, 4.0),
        (1_000, 0, 500, 0.00325),
        (1_000_000, 600_000, 0, 0.06 + 0.5),
        (1_000, 600_000, 0, 0.0001),  # no more is read than the prompt has
    ],
)
def test_dollars_are_counted_by_the_million_tokens(prompt: int, warm: int, output: int, usd: float) -> None:
    assert turn_usd(PRICE, prompt, warm, output) == pytest.approx(usd)


def candidate(make: Make, price: Price | None = BASE, rules: PriceRules = RULES) -> Candidate:
    return make.lane(make.provider("a", price=price, rules=rules)).candidates[0]


def times(price: Price, factor: float) -> Price:
    long = None if price.cache_write_long is None else price.cache_write_long * factor
    return Price(
        price.input * factor, price.output * factor, price.cache_read * factor, price.cache_write * factor, long
    )


@pytest.mark.parametrize(
    ("prompt", "tier", "how", "expected"),
    [
        (10, "", {}, BASE),
        (200_000, "", {}, BASE),
        (200_001, "", {}, LONGER),
        (500_000, "", {}, LONGER),
        (500_001, "", {}, LONGEST),
        (10, "flex", {}, times(BASE, 0.5)),
        (10, "priority", {}, times(BASE, 2.0)),
        (10, "auto", {}, BASE),  # a tier without a factor costs what any request does
        (300_000, "flex", {}, times(LONGER, 0.5)),
        (10, "", {"long_write": True}, msgspec.structs.replace(BASE, cache_write=2.0)),
        (300_000, "priority", {"long_write": True}, times(msgspec.structs.replace(LONGER, cache_write=4.0), 2.0)),
        (600_000, "", {"long_write": True}, LONGEST),  # it has one price for all writes
        (10, "", {"writes": False}, msgspec.structs.replace(BASE, cache_write=1.0)),
        (10, "flex", {"writes": False, "long_write": True}, times(msgspec.structs.replace(BASE, cache_write=1.0), 0.5)),
    ],
)
def test_a_price_is_that_of_the_length_the_service_tier_and_the_lifetime(
    make: Make, prompt: int, tier: str, how: dict[str, Any], expected: Price
) -> None:
    assert price_for(candidate(make), prompt, tier, **how) == expected


def test_an_unknown_price_is_never_a_number(make: Make) -> None:
    unknown = candidate(make, price=None, rules=PriceRules(service_tiers={"flex": 0.5}))
    assert price_for(unknown, 300_000, "flex") is None


USD = st.floats(0.0, 100.0)
PRICES = st.builds(Price, USD, USD, USD, USD, st.none() | USD)


@given(price=PRICES, prompt=st.integers(0, 2_000_000), warm=st.integers(0, 2_000_000), factor=st.floats(0.1, 8.0))
def test_a_factor_on_all_prices_is_one_on_the_dollars(price: Price, prompt: int, warm: int, factor: float) -> None:
    usd = turn_usd(price, prompt, warm, 400)
    assert turn_usd(times(price, factor), prompt, warm, 400) == pytest.approx(usd * factor)
    if price.cache_read <= price.cache_write:
        assert usd <= turn_usd(price, prompt, 0, 400) + 1e-9


def test_a_usual_turn_reads_most_of_its_prompt() -> None:
    assert usual_usd(PRICE) == pytest.approx((9_000 * 0.1 + 1_000 * 1.25 + 400 * 4.0) / 1e6)
