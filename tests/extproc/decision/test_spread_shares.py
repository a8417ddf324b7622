"""The shares by which requests are spread: as `pick.spread` does it, on average."""

from collections import Counter
from typing import Any

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.pick import spread
from limpet_extproc.decision.price import turn_usd
from limpet_extproc.decision.score import expected_usd
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.spread_shares import spread_shares


def shares_of(lane: Lane) -> dict[str, float]:
    usd = [turn_usd(each.price, 10_000, 0, 0) for each in lane.candidates if each.price is not None]
    shares = spread_shares(lane.candidates, usd, 25.0)
    return {each.provider: share for each, share in zip(lane.candidates, shares, strict=True) if share}


def test_shares_are_those_by_which_requests_are_spread(make: Make) -> None:
    prices = {"a": 1.0, "b": 1.1, "c": 1.2, "d": 3.0}
    lane = make.lane(
        *(
            make.provider(name, price=Price(usd, usd, usd, usd), weight=300 if name == "c" else 100)
            for name, usd in prices.items()
        )
    )
    usd = expected_usd(lane.candidates, make.query(lane, prompt_tokens=10_000, output_tokens=0))
    firsts = Counter(spread(lane.candidates, usd, usd, 25.0, str(n).encode())[0] for n in range(20_000))
    shares = shares_of(lane)
    assert "d" not in shares
    assert sum(shares.values()) == pytest.approx(1.0)
    for name, share in shares.items():
        assert firsts[name] / 20_000 == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"drain": True}, ["b"]),  # takes no new conversations
        ({"weight": 0}, ["b"]),
        ({"price": Price(0, 0, 0, 0)}, ["a"]),  # free, so nobody is nearly as cheap
    ],
)
def test_who_gets_none(make: Make, fields: dict[str, Any], names: list[str]) -> None:
    usual = Price(1.0, 1.0, 1.0, 1.0)
    lane = make.lane(make.provider("a", **{"price": usual, **fields}), make.provider("b", price=usual))
    assert list(shares_of(lane)) == names
