"""A provider that has come back: its share of new conversations grows, and nothing else changes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.choose import choose
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.pick import held_back
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.steering import Steering
from limpet_extproc.memory import Remembered, Warm

NOW = 1000.0
KEYS = [Random(number).randbytes(16) for number in range(1000)]
NEAR = (1.0, 1.0, 1.0)
CHEAPEST = (1.0, 3.0, 4.0)
"""Prices of a, b and c; a is the one that has come back."""


def lane(make: Make, prices: tuple[float, ...]) -> Lane:
    return make.lane(
        *(make.provider(name, price=Price(usd, usd, usd / 10, usd)) for name, usd in zip("abc", prices, strict=True))
    )


def firsts(make: Make, prices: tuple[float, ...], back_s: float) -> list[str]:
    """Where each new conversation goes, so long after `a` has come back."""
    states = ProviderStates(health={"a": HealthState(returned_s=NOW - back_s)})
    query = make.query(lane(make, prices))
    return [choose(make.query(query.lane, key=key), None, states, NOW, b"").order[0] for key in KEYS]


@pytest.mark.parametrize("prices", [NEAR, CHEAPEST], ids=["one of near-equals", "the cheapest"])
def test_its_share_grows_to_the_whole_in_half_a_minute_and_no_other_conversation_moves(
    make: Make, prices: tuple[float, ...]
) -> None:
    usual = [choose(make.query(lane(make, prices), key=key), None, ProviderStates(), NOW, b"").order[0] for key in KEYS]
    before: set[int] = set()
    for back_s in (0.0, 3.0, 10.0, 20.0, 29.0, 30.0):
        now = firsts(make, prices, back_s)
        mine = {number for number, name in enumerate(now) if name == "a"}
        assert before <= mine, "who was in the share stays in it"
        assert all(name == was for name, was in zip(now, usual, strict=True) if was != "a")
        share = max(0.05, back_s / 30)
        assert len(mine) / usual.count("a") == pytest.approx(share, abs=0.07)
        before = mine
    assert now == usual


@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, unique=True, max_size=6),
    st.sampled_from("abcdef"),
    st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)).map(sorted),
    st.binary(max_size=16),
)
def test_a_greater_share_never_takes_a_conversation_away(
    ranked: list[str], name: str, shares: list[float], seed: bytes
) -> None:
    lower, higher = shares
    before, after = held_back(ranked, {name: lower}, seed), held_back(ranked, {name: higher}, seed)
    assert sorted(before) == sorted(after) == sorted(ranked)
    assert held_back(ranked, {name: 1.0}, seed) == ranked
    if before[0] == name or ranked[0] != name:
        assert after[0] == before[0]


def test_conversations_that_are_warm_there_are_not_held_back(make: Make) -> None:
    states = ProviderStates(health={"a": HealthState(returned_s=NOW)})
    for key in KEYS[:50]:
        query = make.query(lane(make, NEAR), key=key)
        assert choose(query, Remembered((Warm("a", NOW + 60),)), states, NOW, b"").order[0] == "a"
        assert choose(query, Remembered((), "a"), states, NOW, b"").order[0] == "a"


def test_who_has_no_other_choice_is_not_held_back(make: Make) -> None:
    down = HealthState(trouble="down", until_s=NOW + 10)
    states = ProviderStates(health={"a": HealthState(returned_s=NOW), "b": down, "c": down})
    for key in KEYS[:50]:
        query = make.query(lane(make, NEAR), key=key)
        assert choose(query, None, states, NOW, b"").order == ("a", "b", "c")


def test_weight_zero_gets_nothing_of_what_is_held_back(make: Make) -> None:
    candidates = make.lane(make.provider("a"), make.provider("b"), make.provider("spare", weight=0))
    states = ProviderStates(health=dict.fromkeys("ab", HealthState(returned_s=NOW)))
    orders = [choose(make.query(candidates, key=key), None, states, NOW, b"").order for key in KEYS[:50]]
    assert {order[2] for order in orders} == {"spare"}


def test_a_client_that_names_the_provider_gets_it(make: Make) -> None:
    states = ProviderStates(health={"a": HealthState(returned_s=NOW)})
    for key in KEYS[:50]:
        query = make.query(lane(make, NEAR), key=key, steering=Steering(order=("a",)))
        assert choose(query, None, states, NOW, b"").order[0] == "a"
