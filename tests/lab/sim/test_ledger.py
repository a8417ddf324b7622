"""Bills are exact."""

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.sim.ledger import Ledger, Row, price
from limpet_lab.sim.prices import PriceList
from limpet_lab.sim.wire import Usage, usage_object

if TYPE_CHECKING:
    from limpet_lab.sim.rules import Quantity

_FULL = PriceList(
    input=Decimal("0.15"), output=Decimal("0.60"), cache_read=Decimal("0.003"), cache_write=Decimal("0.1875")
)
_LONG = PriceList(input=Decimal(1), output=Decimal(5), cache_write=Decimal("1.25"), cache_write_1h=Decimal(2))
_SHORT = PriceList(input=Decimal("0.15"), output=Decimal("0.60"))


@pytest.mark.parametrize(
    ("usage", "prices", "usd"),
    [
        (Usage(prompt=4213, cached=4096, written=0, output=50), _FULL, "0.000059838"),
        (Usage(prompt=4213, cached=0, written=4096, output=0), _FULL, "0.00078555"),
        (Usage(prompt=1000, cached=500, written=500, output=0), _SHORT, "0.00015"),
        (Usage(prompt=1000, cached=0, written=800, output=0, written_long=300), _LONG, "0.001425"),
        (Usage(prompt=1000, cached=0, written=800, output=0, written_long=300), _FULL, "0.00018"),
        (Usage(prompt=1000, cached=500, written=0, output=1), None, None),
    ],
)
def test_the_price_of_a_request(usage: Usage, prices: PriceList | None, usd: str | None) -> None:
    assert price(usage, prices) == (None if usd is None else Decimal(usd))


def _row(number: int, usd: Decimal | None = Decimal("0.1")) -> Row:
    return Row(
        id=str(number),
        account="key-1",
        model="m",
        stream=False,
        complete=True,
        prompt=10,
        cached=number % 2,
        written=3,
        output=2,
        usd=usd,
    )


@given(count=st.integers(0, 40))
def test_totals_are_sums_over_all_rows_also_of_those_that_left(count: int) -> None:
    ledger = Ledger(most_rows=5)
    for number in range(count):
        ledger.add(_row(number))
    report = ledger.report(rows=3)
    totals = report.totals
    assert (totals.requests, totals.prompt, totals.hits, totals.usd) == (
        count,
        10 * count,
        count // 2,
        count * Decimal("0.1"),
    )
    assert [row.id for row in report.rows] == [str(number) for number in range(count)][-3:]


def test_an_unknown_price_makes_the_sum_unknown_until_the_next_reset() -> None:
    ledger = Ledger()
    ledger.add(_row(1, usd=None))
    ledger.add(_row(2))
    assert ledger.report(0).totals.usd is None
    ledger.reset()
    assert ledger.report(0).totals.usd == 0


def test_refused_requests_are_counted_by_what_they_got() -> None:
    ledger = Ledger()
    for what in ("401", "429", "429", "hang"):
        ledger.refuse(what)
    assert ledger.report(0).errors == {"401": 1, "429": 2, "hang": 1}


def test_cache_fields_stay_away_from_vendors_that_do_not_report_them() -> None:
    shape: dict[str, Quantity] = {"prompt_tokens": "prompt", "prompt_tokens_details.cached_tokens": "cached"}
    usage = Usage(prompt=10, cached=5, written=0, output=1)
    assert usage_object(usage, shape, show_cache=False) == {"prompt_tokens": 10}
    assert usage_object(usage, shape, show_cache=True) == {
        "prompt_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 5},
    }
