"""The order of a gateway without stickiness: price weights, outages, and no provider lost."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.peers.rank import OUTAGE_WINDOW_S, Offer, balanced, spread, weights

DOCUMENTED = (Offer("a", 1.0), Offer("b", 2.0), Offer("c", 3.0))
"""The example of OpenRouter's documentation."""

offers = st.dictionaries(st.text(min_size=1, max_size=8), st.floats(0, 100), min_size=1, max_size=8).map(
    lambda prices: tuple(Offer(name, usd) for name, usd in prices.items())
)


def test_the_documented_example_is_nine_to_one() -> None:
    chance = weights(DOCUMENTED)
    assert chance["a"] / chance["c"] == pytest.approx(9)
    assert sum(chance.values()) == pytest.approx(1)


def test_draws_follow_the_weights() -> None:
    drawn = Counter(spread(DOCUMENTED, number.to_bytes(8, "big"))[0] for number in range(20_000))
    for name, chance in weights(DOCUMENTED).items():
        assert drawn[name] / 20_000 == pytest.approx(chance, abs=0.015)


@given(offers, st.binary(min_size=8, max_size=8))
def test_no_provider_is_lost_and_a_seed_is_a_whole_order(choices: tuple[Offer, ...], random_seed: bytes) -> None:
    order = spread(choices, random_seed)
    assert sorted(order) == sorted(offer.provider for offer in choices)
    assert spread(tuple(reversed(choices)), random_seed) == order


@pytest.mark.parametrize(
    ("ago_s", "last"),
    [(0.0, True), (OUTAGE_WINDOW_S - 0.1, True), (OUTAGE_WINDOW_S, False), (3_600.0, False)],
)
def test_an_outage_counts_for_thirty_seconds(ago_s: float, last: bool) -> None:
    orders = [balanced(DOCUMENTED, {"a": 1_000.0 - ago_s}, 1_000.0, bytes([n])) for n in range(100)]
    assert all(order[-1] == "a" for order in orders) is last


@given(offers, st.binary(min_size=8, max_size=8), st.data())
def test_the_stable_come_first_in_the_order_of_the_draw(
    choices: tuple[Offer, ...], random_seed: bytes, data: st.DataObject
) -> None:
    names = [offer.provider for offer in choices]
    failed = data.draw(st.dictionaries(st.sampled_from(names), st.floats(900, 1_000)))
    order = balanced(choices, failed, 1_000.0, random_seed)
    unstable = [1_000.0 - failed.get(name, 0.0) < OUTAGE_WINDOW_S for name in order]
    assert unstable == sorted(unstable)
    drawn = spread(choices, random_seed)
    assert sorted(order) == sorted(drawn)
    stable = [name for name, out in zip(order, unstable, strict=True) if not out]
    assert stable == [name for name in drawn if name in stable]
