"""What probes cost is in the ledger, apart from what clients' requests cost."""

import json

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.health_stream import ProbeAnswer, ProbeRequest
from limpet_extproc.contract.ledger import HOUR_S, RowKey, RowSums
from limpet_extproc.contract.prices import Price
from limpet_extproc.memory.ledger import LedgerBook
from limpet_extproc.process.probe_ledger import CountedProbes

KEY = RowKey(3, "probe", "a", "flash")
PRICE = Price(1.0, 4.0, 0.1, 1.0)
USAGE = {"usage": {"prompt_tokens": 1_000, "completion_tokens": 250}}


async def counted(
    make: Make, answer: ProbeAnswer, *, price: Price | None = PRICE, method: str = "POST", body: str | None = None
) -> dict[RowKey, RowSums]:
    """What is in the ledger after this answer to a probe of `theirs`, the provider's name for the model `flash`."""
    book = LedgerBook()
    tables = make.snapshot(make.provider("a", upstream="theirs", price=price))

    async def send(_: ProbeRequest) -> ProbeAnswer:
        return answer

    probes = CountedProbes(send, lambda: tables, book, lambda: 3.5 * HOUR_S)
    asked = json.dumps({"model": "theirs"}) if body is None else body
    request = ProbeRequest(1, "a", "GET" if method == "GET" else "POST", "/chat/completions", asked)
    assert await probes.send(request) == answer
    return dict(book.unwritten())


@pytest.mark.parametrize(
    ("answer", "price", "sums"),
    [
        (ProbeAnswer(1, 200, body=json.dumps(USAGE)), PRICE, RowSums(1, 0, 0, 0, 0, 0, 0, 0.002, 0.002, 0.002, 0.002)),
        (ProbeAnswer(1, 200, body=json.dumps(USAGE)), None, RowSums(1, unpriced=1)),
        (ProbeAnswer(1, 200, body="{}"), PRICE, RowSums(1, unmetered=1)),
    ],
)
async def test_a_completion_is_a_row_of_its_own(
    make: Make, answer: ProbeAnswer, price: Price | None, sums: RowSums
) -> None:
    assert await counted(make, answer, price=price) == {KEY: sums}


@pytest.mark.parametrize(
    ("status", "method", "body"), [(500, "POST", None), (0, "POST", None), (200, "GET", None), (200, "POST", "no JSON")]
)
async def test_what_costs_nothing_is_in_no_row(make: Make, status: int, method: str, body: str | None) -> None:
    assert not await counted(make, ProbeAnswer(1, status, body=json.dumps(USAGE)), method=method, body=body)


async def test_a_model_that_has_left_the_catalog_has_no_price(make: Make) -> None:
    answer = ProbeAnswer(1, 200, body=json.dumps(USAGE))
    (row,) = (await counted(make, answer, body=json.dumps({"model": "gone"}))).items()
    assert row == (RowKey(3, "probe", "a", "gone"), RowSums(1, unpriced=1))
