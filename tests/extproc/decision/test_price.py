"""What a prompt costs, and when staying for the cache pays."""

import pytest
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.price import cold_usd, why_not_sticky

PRICE = Price(input=1.0, output=4.0, cache_read=0.1, cache_write=1.25)
TOKENS = st.integers(0, 2_000_000)


@pytest.mark.parametrize(
    ("prompt", "output", "usd"),
    [
        (0, 0, 0.0),
        (1_000_000, 0, 1.25),  # a cold prompt is written to the cache
        (0, 1_000_000, 4.0),
        (1_000, 500, 0.00325),
    ],
)
def test_dollars_are_counted_by_the_million_tokens(prompt: int, output: int, usd: float) -> None:
    assert cold_usd(PRICE, prompt, output) == pytest.approx(usd)


FREE_READS = Price(1.0, 4.0, 0.0, 1.0)
NO_DISCOUNT = Price(1.0, 4.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("caches", "min_tokens", "price", "tokens", "reason"),
    [
        (True, 0, PRICE, 1, None),
        (True, 1024, PRICE, 1024, None),
        (True, 1024, PRICE, 1023, "unsticky.below_minimum"),
        (False, 0, PRICE, 10_000, "unsticky.no_cache"),
        (True, 0, NO_DISCOUNT, 10_000, "unsticky.no_discount"),
        (True, 0, FREE_READS, 10_000, None),
        (True, 0, None, 10_000, None),  # unknown price: the gain is time
        (False, 0, None, 10_000, "unsticky.no_cache"),
        (True, 1024, None, 10, "unsticky.below_minimum"),
    ],
)
def test_staying_pays_only_where_the_cache_is_real_and_cheaper(
    make: Make, caches: bool, min_tokens: int, price: Price | None, tokens: int, reason: str | None
) -> None:
    lane = make.lane(make.provider("a", caches=caches, min_tokens=min_tokens, price=price))
    assert why_not_sticky(lane.candidates[0], make.query(lane, prompt_tokens=tokens)) == reason
