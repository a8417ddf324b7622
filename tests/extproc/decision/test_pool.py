"""Many candidates are reckoned by kind and ranked in part: the same decisions and bills as one by one, and in whole."""

import gc
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import CacheEvidence, Record, TurnsBefore
from limpet_extproc.decision.bills import bill
from limpet_extproc.decision.choose import Decision, choose
from limpet_extproc.decision.draws import KEPT, Draws
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.pool import LaneTable, Pools
from limpet_extproc.decision.prefix import Chain, PromptHead
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.steering import Steering
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory import ConversationPace, LastFailure, Remembered, Warm
from limpet_extproc.memory.heads import Heads, WarmHead

NOW = 10_000.0
_NEARLY = 3e-4
"""By which what spreading costs may differ that is reckoned with providers of nearly the same price as one."""
HEAD = b"12345678"
USUAL = Price(1.0, 4.0, 0.1, 1.0)

_PRICES: tuple[Price | None, ...] = (
    USUAL,
    USUAL.times(1.1),
    USUAL.times(0.5),
    Price(1.0, 4.0, 0.1, 1.25),
    Price(0.8, 6.0, 0.4, 0.8),
    None,
)
_PLAIN = st.sampled_from([each for each in _PRICES if each is not None and each.cache_write == each.input])
_PROVIDERS = st.fixed_dictionaries(
    {
        "price": st.sampled_from(_PRICES),
        "min_tokens": st.sampled_from((0, 0, 3_000)),
        "weight": st.sampled_from((100, 100, 100, 1, 0)),
        "drain": st.sampled_from((False, False, False, True)),
        "cache_ttl_s": st.sampled_from((300.0, 3_600.0)),
    }
)
DOWN = HealthState(trouble="down", since_s=NOW - 5, until_s=NOW + 5)
_STATES = st.sampled_from(
    (
        DOWN,
        HealthState(trouble="down", since_s=NOW - 50, until_s=NOW - 5),
        HealthState(trouble="degraded", since_s=NOW - 5, until_s=NOW + 50),
        HealthState(returned_s=NOW - 6),
        HealthState(failures=1),
    )
)


def one_by_one(lane: Lane) -> Lane:
    """The same, where however many candidates are no pool."""
    return replace(lane, pools=Pools(lane.candidates, few=len(lane.candidates)))


def by_kind(lane: Lane) -> Lane:
    return replace(lane, pools=Pools(lane.candidates, few=0, most_kinds=1.0))


def by_sample(lane: Lane) -> Lane:
    return replace(lane, pools=Pools(lane.candidates, few=0, most_kinds=0.0))


@st.composite
def provider_fields(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Many providers of a few kinds, or at prices of their own; of half of them all have plain prices."""
    kinds = draw(st.lists(_PROVIDERS, min_size=1, max_size=6))
    if draw(st.booleans()):
        kinds = [{**each, "price": draw(_PLAIN)} for each in kinds]
    number = draw(st.sampled_from((2, 5, 12, 40, 90)))
    picked = draw(st.randoms(use_true_random=False))
    found = [picked.choice(kinds) for _ in range(number)]
    if draw(st.booleans()):
        return found
    return [{**each, "price": each["price"] and each["price"].times(picked.uniform(1.0, 1.5))} for each in found]


def names_of(number: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.integers(0, number - 1).map(lambda each: f"p{each}"), max_size=4, unique=True)


@st.composite
def states(draw: st.DrawFn, number: int, model: str, out: tuple[str, ...]) -> ProviderStates:
    """Nearly all are well. `out`: those that are not for certain."""
    return ProviderStates(
        health={name: draw(_STATES) for name in draw(names_of(number))} | dict.fromkeys(out, DOWN),
        by_model={(name, model): draw(_STATES) for name in draw(names_of(number))},
        factors=dict.fromkeys(draw(names_of(number)), 1.25),
        slow={model: dict.fromkeys(draw(names_of(number)), 1.5)},
        failed_s={(name, model): NOW - 10 for name in draw(names_of(number))},
    )


@st.composite
def memories(draw: st.DrawFn, number: int) -> Remembered | None:
    """Of up to four warm places, one after the other."""
    warm = [Warm(name, NOW + draw(st.sampled_from((-10, 100, 100))), 4_000, 3_900) for name in draw(names_of(number))]
    pace = ConversationPace(3, NOW - 60, 60.0, 4_000, 300.0, 200.0)
    failure = draw(st.sampled_from((None, LastFailure(("p0", "p1"), NOW - 5))))
    known = Remembered(tuple(warm), None, failure, pace)
    return draw(st.sampled_from((known, known, None)))


@settings(deadline=None)
@given(data=st.data(), fields=provider_fields(), key=st.binary(min_size=8, max_size=8))
def test_a_decision_is_the_same(make: Make, data: st.DataObject, fields: list[dict[str, Any]], key: bytes) -> None:
    number = len(fields)
    mode = data.draw(st.sampled_from(("Enforce", "Enforce", "Observe", "Off")))
    lane = make.lane(
        *(make.provider(f"p{at}", **each) for at, each in enumerate(fields)),
        mode=mode,
        max_attempts=data.draw(st.sampled_from((1, 3, 6))),
        spread_within_percent=data.draw(st.sampled_from((0.0, 25.0, 200.0))),
    )
    remembered = data.draw(memories(number))
    warm = tuple(each.provider for each in remembered.warm) if remembered is not None else ()
    known_states = data.draw(states(number, lane.model, warm[: data.draw(st.sampled_from((0, 0, 1, 2)))]))
    heads: Heads = {}
    if at := data.draw(names_of(number)):
        heads = {HEAD: tuple(WarmHead(name, NOW + 100) for name in at)}
    steering = data.draw(st.sampled_from((None, None, Steering(ignore=("p0",)), Steering(sort="price"))))
    chain = Chain(b"", (), (PromptHead(HEAD, 2_000, False),)) if heads else Chain(b"", (), ())
    draws = Draws()

    def decided(lane: Lane) -> Decision:
        query = Query(lane, key, 4_000, 400, steering, chain=chain)
        return choose(query, remembered, known_states, NOW, b"seed", heads, draws)

    plain = decided(one_by_one(lane))
    for _ in range(2):  # with draws that are not known yet, and with known ones
        assert decided(by_kind(lane)) == plain
        assert decided(by_sample(lane)) == plain


@pytest.mark.parametrize("warm", [("p0", "pA", "pB"), ("p0", "pB", "pA"), ("p0", "pA", "q0", "pB")])
def test_the_cheapest_may_be_another_warm_place(make: Make, warm: tuple[str, ...]) -> None:
    """It alone undercuts those where it is cold, so these are compared without it: they cost less than `pB`."""
    factors = {"p0": 1.2, "pA": 0.5, "pB": 40.0} | {f"q{at}": 0.6 + at / 100 for at in range(20)}
    lane = make.lane(*(make.provider(name, price=USUAL.times(factor)) for name, factor in factors.items()))
    remembered = Remembered(
        tuple(Warm(name, NOW + 100, 4_000, 3_900) for name in warm),
        pace=ConversationPace(3, NOW - 60, 60.0, 4_000, 300.0, 200.0),
    )
    known_states = ProviderStates(health={"p0": DOWN})
    for each in (lane, one_by_one(lane)):
        decision = choose(make.query(each), remembered, known_states, NOW, b"")
        assert (decision.order, decision.reason) == (("pA", "q0", "q1"), "sticky.left.down")


def test_the_first_of_hundreds_are_drawn_as_all_would_be(make: Make) -> None:
    lane = make.lane(*(make.provider(f"p{at}") for at in range(10 * KEPT)), max_attempts=4)
    draws = Draws(most=5)
    for number in range(20):
        key = b"conversation %d" % number
        plain = choose(make.query(one_by_one(lane), key=key), None, ProviderStates(), NOW, b"")
        assert choose(make.query(lane, key=key), None, ProviderStates(), NOW, b"", draws=draws) == plain
        assert choose(make.query(lane, key=key), None, ProviderStates(), NOW, b"", draws=draws) == plain
    assert len(draws) == 5


def test_draws_of_another_catalog_do_not_count(make: Make) -> None:
    draws, sizes = Draws(), (50, 60, 50)
    for number in sizes:
        lane = make.lane(*(make.provider(f"p{at}") for at in range(number)))
        plain = choose(make.query(one_by_one(lane)), None, ProviderStates(), NOW, b"")
        assert choose(make.query(lane), None, ProviderStates(), NOW, b"", draws=draws) == plain


def test_draws_outlive_prices_and_keep_no_catalog(make: Make) -> None:
    draws, found = Draws(), []
    for number in range(5):
        price = USUAL.times(1 + number / 10)
        table = make.lane(*(make.provider(f"repriced{at}", price=price) for at in range(50))).pools.whole.lane
        draws.first_places(table, b"conversation %d" % number)
        found.append(draws.first_places(table, b"conversation 0"))
    assert all(each is found[0] for each in found)
    assert len(draws) == 5
    gc.collect()
    tables = [each for each in gc.get_objects() if type(each) is LaneTable and each.seeds[0] == b"repriced0"]
    assert len(tables) == 1
    assert tables[0] is table


@settings(deadline=None)
@given(
    data=st.data(),
    fields=provider_fields(),
    cached=st.sampled_from((None, 0, 3_000)),
    excluded=st.booleans(),
    reason=st.sampled_from(("sticky.hit", "first.scored", "off.spread")),
)
def test_a_bill_is_the_same(
    make: Make, data: st.DataObject, fields: list[dict[str, Any]], cached: int | None, excluded: bool, reason: str
) -> None:
    within = data.draw(st.sampled_from((0.0, 25.0, 200.0)))
    providers = (make.provider(f"p{at}", **each) for at, each in enumerate(fields))
    lane = make.lane(*providers, spread_within_percent=within)
    order = tuple(data.draw(names_of(len(fields)).filter(bool)))
    record = Record(
        key=b"k",
        model=lane.model,
        identified_by="fingerprint",
        reason=reason,
        enforce_reason=None,
        order=order,
        ttls_s=tuple(60.0 for _ in order),
        started_s=NOW,
        prompt_tokens=4_000,
        max_providers=4,
        learn=True,
        cache=CacheEvidence(expected=(3_000, *(0 for _ in order[1:])), before=order[0], before_tokens=3_000),
        before=TurnsBefore(turns=3, last_gap_s=40.0, gap_s=40.0, growth_tokens=300.0),
        excluded=dict.fromkeys(data.draw(names_of(len(fields))), "down") if excluded else {},
    )
    usage = TokenUsage(4_000, cached, 100)
    plain, found = bill(one_by_one(lane), order[0], record, usage), bill(by_kind(lane), order[0], record, usage)
    if plain is None or found is None:
        assert plain is found
        return
    assert found.paid_usd == plain.paid_usd
    assert found.uncached_usd == plain.uncached_usd
    assert found.cheapest_usd == plain.cheapest_usd
    assert found.spread_usd == pytest.approx(plain.spread_usd)
    sampled = bill(by_sample(lane), order[0], record, usage)
    assert sampled is not None
    assert msgspec.structs.replace(sampled, spread_usd=plain.spread_usd) == plain
    assert sampled.spread_usd == pytest.approx(plain.spread_usd, rel=_NEARLY)


def test_pools_are_kept_while_somebody_is_out(make: Make) -> None:
    lane = make.lane(*(make.provider(f"p{at}") for at in range(20)))
    without = lane.pools.without(frozenset({"p3"}))
    assert [each.provider for each in without.candidates] == [f"p{at}" for at in range(20) if at != 3]
    assert lane.pools.without(frozenset({"p3"})) is without
    assert lane.pools.of(without.candidates) is without
    assert lane.pools.of((*without.candidates[:1], *without.candidates[1:])) is None
    for at in range(40):
        lane.pools.without(frozenset({f"p{at}", "p1"}))
    assert lane.pools.of(without.candidates) is None
    assert lane.pools.of(lane.candidates) is lane.pools.whole
