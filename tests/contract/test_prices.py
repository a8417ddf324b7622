"""What is worked out from the prices of a model."""

import pytest

from limpet_extproc.contract.prices import Price


@pytest.mark.parametrize(
    ("price", "long_write", "doubled"),
    [
        (Price(3.0, 15.0, 0.3, 3.75, 6.0), 6.0, Price(6.0, 30.0, 0.6, 7.5, 12.0)),
        (Price(3.0, 15.0, 0.3, 3.75), 3.75, Price(6.0, 30.0, 0.6, 7.5)),
        (Price(0.0, 0.0, 0.0, 0.0, 0.0), 0.0, Price(0.0, 0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_a_factor_is_one_on_all_prices_and_an_absent_one_stays_absent(
    price: Price, long_write: float, doubled: Price
) -> None:
    assert price.long_write == long_write
    assert price.times(2.0) == doubled
