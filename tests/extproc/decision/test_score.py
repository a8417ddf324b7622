"""What a request is expected to cost where nobody knows the price."""

import pytest
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
