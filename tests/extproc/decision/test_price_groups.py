"""Candidates whose prices hardly differ are one for sums over many."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import Make
from tests.extproc.decision.test_bills import record
from tests.extproc.decision.test_pool import one_by_one

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.bills import bill
from limpet_extproc.decision.open_to import open_to
from limpet_extproc.decision.price_groups import WIDTH, PriceGroups
from limpet_extproc.envoy.usage import TokenUsage

_USD = st.sampled_from((0.0, 0.01, 1.0)) | st.floats(0.5, 0.6)
_PRICES = st.builds(lambda usd, output, read: Price(usd, output, read, usd), _USD, _USD, _USD)
_TURN: dict[str, Any] = {"order": ("p7", "p1"), "ttls_s": (300.0, 300.0)}
_USAGE = TokenUsage(10_000, 9_000, 200)


@given(st.lists(st.tuples(_PRICES, st.sampled_from((100, 50))), min_size=1, max_size=60))
def test_each_candidate_is_in_one_group_of_its_like(make: Make, fields: list[tuple[Price, int]]) -> None:
    lane = make.lane(
        *(make.provider(f"p{at}", price=price, weight=weight) for at, (price, weight) in enumerate(fields))
    )
    beside = PriceGroups(lane.candidates).beside(frozenset())
    groups = [group for group, _, _ in beside.groups]
    assert sorted(each.provider for group in groups for each in group.members) == sorted(lane.by_provider)
    assert [left for _, _, left in beside.groups] == [len(group.members) for group in groups] == beside.counts
    for group in groups:
        mean = group.mean
        assert {each.weight for each in group.members} == {mean.weight}
        for name in ("input", "output", "cache_read", "cache_write"):
            prices = [getattr(each.price, name) for each in group.members]
            least, most = min(prices), max(prices)
            assert (getattr(group.least, name), getattr(group.most, name)) == (least, most)
            assert most <= least * (1 + WIDTH) * (1 + 1e-12)
            assert getattr(mean.price, name) == pytest.approx(sum(prices) / len(prices))


def test_members_that_are_apart_are_not_counted(make: Make) -> None:
    prices = [Price(*[usd] * 4) for usd in (1.0, 1.01, 1.012, 1.014)]
    lane = make.lane(
        *(make.provider(f"p{at}", price=price) for at, price in enumerate(prices)), make.provider("other", weight=1)
    )
    groups = PriceGroups(lane.candidates)
    assert groups.beside(frozenset(("p1", "p3", "nobody"))).counts == [1, 1, 2, 1]
    beside = groups.beside(frozenset(("p3",)), frozenset(("p0", "other")))
    assert [each.provider for each in beside.candidates] == ["p3", ""]
    assert beside.counts == [1, 2]
    assert beside.most_input == beside.most_output == 1.014
    mean = beside.prices[1]
    assert msgspec.structs.astuple(mean)[:4] == pytest.approx([1.011] * 4)


def test_only_a_few_sets_that_are_apart_are_kept(make: Make) -> None:
    lane = make.lane(*(make.provider(f"p{at}", price=Price(*[1.1**at] * 4)) for at in range(100)))
    groups = PriceGroups(lane.candidates)
    found = [groups.beside(frozenset((f"p{at}",))) for at in range(100)]
    again = groups.beside(frozenset(("p99",)))
    assert again is found[-1]
    assert groups.beside(frozenset(("p0",))) is not found[0]
    assert again.counts == found[0].counts == [1] * 100


def test_a_bill_over_hundreds_looks_at_a_few(make: Make) -> None:
    prices = [Price(0.5 + at / 10_000, 1.5, 0.05, 0.5 + at / 10_000) for at in range(300)]
    lane = make.lane(*(make.provider(f"p{at}", price=price) for at, price in enumerate(prices)))
    served = lane.by_provider["p7"]
    others, its_prices, counts = open_to(lane, served, prices[7], record(**_TURN), 10_000, 200)
    assert sum(counts) == 300
    assert len(others) == len(its_prices) == len(counts) < 12
    assert [each.provider for each in others if each.provider] == ["p0", "p1", "p7"]
    found, plain = (bill(each, "p7", record(**_TURN), _USAGE) for each in (lane, one_by_one(lane)))
    assert found is not None
    assert plain is not None
    assert found.cheapest_usd == plain.cheapest_usd
    assert found.spread_usd == pytest.approx(plain.spread_usd, rel=1e-4)


def test_of_a_group_only_near_equals_count(make: Make) -> None:
    """`p0` costs least, and the limit lies in the middle of all others, whose prices differ by less than a group's."""
    prices = [1.0, *[1.245 + at / 2_000 for at in range(20)]]
    lane = make.lane(*(make.provider(f"p{at}", price=Price(usd, usd, 0.1, usd)) for at, usd in enumerate(prices)))
    others, _, counts = open_to(
        lane, lane.by_provider["p7"], Price(1.248, 1.248, 0.1, 1.248), record(**_TURN), 10_000, 200
    )
    assert counts == [1] * 21
    assert len({each.provider for each in others}) == 21
    found, plain = (bill(each, "p7", record(**_TURN), _USAGE) for each in (lane, one_by_one(lane)))
    assert found is not None
    assert plain is not None
    assert found.spread_usd == pytest.approx(plain.spread_usd)


def test_those_that_were_passed_over_are_not_the_cheapest(make: Make) -> None:
    prices = [Price(0.5 + at / 10_000, 1.5, 0.05, 0.5 + at / 10_000) for at in range(100)]
    lane = make.lane(*(make.provider(f"p{at}", price=price) for at, price in enumerate(prices)))
    passed_over = record(**_TURN, excluded=dict.fromkeys(("p0", "p1", "p2"), "down"))
    others, _, counts = open_to(lane, lane.by_provider["p7"], prices[7], passed_over, 10_000, 200)
    assert [each.provider for each in others if each.provider] == ["p3", "p7"]
    assert sum(counts) == 97
    found, plain = (bill(each, "p7", passed_over, _USAGE) for each in (lane, one_by_one(lane)))
    assert found is not None
    assert plain is not None
    assert found.cheapest_usd == plain.cheapest_usd
