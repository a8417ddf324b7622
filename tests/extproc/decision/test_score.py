"""What a request is expected to cost: where nobody knows the price, and where all have the usual one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.score import by_sort, expected_usd
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.warmth import Warmth

KNOWN = Price(1.0, 4.0, 0.1, 1.0)


@pytest.fixture
def lane(make: Make) -> Lane:
    return make.lane(make.provider("a", price=None), make.provider("b", price=KNOWN))


@pytest.mark.parametrize("warm", [{}, {"b": 900}, {"a": 900}])
def test_an_unknown_price_counts_as_the_dearest_known_one_with_nothing_warm(
    make: Make, lane: Lane, warm: dict[str, int]
) -> None:
    query = make.query(lane, prompt_tokens=1000)
    unknown, known = expected_usd(lane.candidates, query, warm)
    assert unknown == expected_usd(lane.candidates, query)[1]
    assert (known < unknown) == ("b" in warm)


def test_all_unknown_prices_are_equal(make: Make) -> None:
    lane = make.lane(make.provider("a", price=None), make.provider("b", price=None))
    first, second = expected_usd(lane.candidates, make.query(lane), {"a": 900})
    assert first == second


@pytest.mark.parametrize("warm", [{}, {"b": 900}, {"a": 900}])
def test_sorted_by_price_an_unknown_one_comes_last(make: Make, lane: Lane, warm: dict[str, int]) -> None:
    query = make.query(lane, prompt_tokens=1000)
    unknown, known = by_sort("price", lane.candidates, query, Warmth(tokens=warm), ProviderStates(), 0.0)
    assert known < unknown


_PRICES = st.tuples(st.floats(0, 20), st.floats(0, 80), st.floats(0, 2))


@given(
    prices=st.lists(_PRICES, min_size=2, max_size=4),
    warm=st.lists(st.integers(0, 200_000), max_size=4),
    prompt_tokens=st.integers(0, 100_000),
    output_tokens=st.integers(0, 400),
)
def test_a_lane_of_usual_prices_is_reckoned_as_any_others(
    make: Make, prices: list[tuple[float, float, float]], warm: list[int], prompt_tokens: int, output_tokens: int
) -> None:
    lane = make.lane(
        *[
            make.provider(f"p{at}", price=Price(prompt, answer, read, prompt))
            for at, (prompt, answer, read) in enumerate(prices)
        ]
    )
    query = make.query(lane, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    warm_tokens = {f"p{at}": tokens for at, tokens in enumerate(warm)}
    assert lane.plain_prices
    assert expected_usd(lane.candidates, query, warm_tokens) == expected_usd([*lane.candidates], query, warm_tokens)
