"""When a conversation leaves a provider where all is well: to go back after a failover, or for a lower price."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import Limits
from limpet_extproc.contract.prices import NextPrice, Price, PriceRules, PriceTier
from limpet_extproc.decision.choose import Decision, choose
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.limits import Used
from limpet_extproc.decision.moving import may_leave
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.memory import ConversationPace, Remembered, Warm
from limpet_extproc.memory.served import with_warm

NOW = 1000.0
PROMPT = 4000
OLD = Price(input=1.0, output=4.0, cache_read=0.1, cache_write=1.0)


def times(factor: float) -> Price:
    """The earlier provider's prices, all that many times as high."""
    return Price(*(factor * usd for usd in (OLD.input, OLD.output, OLD.cache_read, OLD.cache_write)))


def decide(
    make: Make,
    *,
    new: Price | None = None,
    old: Price | None = OLD,
    warm_old: int = PROMPT,
    warm_new: int = PROMPT,
    until_s: float = NOW + 60,
    states: ProviderStates | None = None,
    **fields: Any,
) -> Decision:
    """A conversation that is at `new`, and was at `old` before; `fields` are those of `old`."""
    lane = make.lane(make.provider("old", price=old, **fields), make.provider("new", price=new or times(2)))
    remembered = Remembered((Warm("new", NOW + 60, warm_new), Warm("old", until_s, warm_old)))
    query = make.query(lane, prompt_tokens=PROMPT)
    return choose(query, remembered, states or ProviderStates(), NOW, b"")


@pytest.mark.parametrize(
    ("factor", "warm_old", "back"),
    [
        (1.0, PROMPT, False),  # the same
        (1.04, PROMPT, False),  # cheaper, by no more than the margin
        (1.1, PROMPT, True),
        (1.5, 0, False),  # cold there: all of it would be written again
        (1.5, 3000, True),
        (1.5, 1000, False),
        (4.0, 0, True),  # so dear here that it does not matter
        (0.5, PROMPT, False),
    ],
)
def test_going_back_has_to_be_cheaper_for_this_prompt_by_more_than_a_margin(
    make: Make, factor: float, warm_old: int, back: bool
) -> None:
    decision = decide(make, new=times(factor), warm_old=warm_old)
    assert (decision.reason, decision.order) == (
        ("sticky.returned", ("old", "new")) if back else ("sticky.hit", ("new", "old"))
    )


def test_the_conversation_goes_back_in_the_plain_case(make: Make) -> None:
    assert decide(make).reason == "sticky.returned"


IN_TROUBLE = {
    "has come back a moment ago": HealthState(returned_s=NOW - 10),
    "has been back for less than a minute": HealthState(returned_s=NOW - 59),
    "is degraded": HealthState(trouble="degraded", until_s=NOW + 10),
    "is down": HealthState(trouble="down", until_s=NOW + 10),
    "is over its limit": HealthState(trouble="over_limit", until_s=NOW + 10),
    "is on trial": HealthState(trouble="down", until_s=NOW - 10),
}


@pytest.mark.parametrize("state", IN_TROUBLE.values(), ids=IN_TROUBLE.keys())
@pytest.mark.parametrize("of_one_model", [False, True])
def test_nobody_goes_back_to_a_provider_that_has_not_been_well_for_a_while(
    make: Make, state: HealthState, of_one_model: bool
) -> None:
    states = (
        ProviderStates(by_model={("old", make.model): state}) if of_one_model else ProviderStates(health={"old": state})
    )
    decision = decide(make, states=states)
    assert (decision.reason, decision.order[0]) == ("sticky.hit", "new")


@pytest.mark.parametrize(
    ("failed_s", "back"), [(NOW - 1, False), (NOW - 59, False), (NOW - 60, True)], ids=["now", "lately", "long ago"]
)
@pytest.mark.parametrize("model", ["", "flash"])
def test_a_failure_there_keeps_conversations_from_going_back_for_a_minute(
    make: Make, failed_s: float, model: str, back: bool
) -> None:
    states = ProviderStates(failed_s={("old", model): failed_s, ("old", "another"): NOW, ("new", ""): NOW})
    assert decide(make, states=states).reason == ("sticky.returned" if back else "sticky.hit")


@pytest.mark.parametrize(("requests", "moves"), [(9, True), (10, False), (19, False)])
def test_half_of_a_providers_limit_is_for_those_that_are_there(make: Make, requests: int, moves: bool) -> None:
    states = ProviderStates(used=lambda _provider, _now_s: Used(requests=requests))
    decision = decide(make, limits=Limits(requests_per_minute=20), states=states)
    assert decision.reason == ("sticky.returned" if moves else "sticky.hit")


def test_the_length_of_a_prompt_does_not_lead_to_and_fro(make: Make) -> None:
    """The one is cheaper for short prompts, the other for long ones, and turns of both kinds take turns."""
    tiers = PriceRules((PriceTier(200_000, Price(input=6.0, output=22.5, cache_read=0.6, cache_write=6.0)),))
    a = make.provider("a", price=Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.0), rules=tiers)
    b = make.provider("b", price=Price(input=4.0, output=16.0, cache_read=0.4, cache_write=4.0))
    lane = make.lane(a, b)
    remembered, visited = Remembered((Warm("a", NOW + 60, 140_000),)), ["a"]
    for turn in range(12):
        tokens = (260_000, 140_000)[turn % 2]
        at = choose(make.query(lane, prompt_tokens=tokens), remembered, ProviderStates(), NOW, b"").order[0]
        remembered = with_warm(remembered, Warm(at, NOW + 60, tokens), 4, NOW, None)
        if at != visited[-1]:
            visited.append(at)
    assert visited in (["a", "b", "a"], ["a", "b"], ["a"])


@pytest.mark.parametrize(
    "situation",
    [
        {"old": None},
        {"new": None, "old": None},
        {"until_s": NOW},
        {"drain": True},
        {"weight": 0},
    ],
    ids=["unknown price", "no price at all", "cold", "draining", "weight 0"],
)
def test_what_else_keeps_a_conversation_where_it_is(make: Make, situation: dict[str, Any]) -> None:
    decision = decide(make, **situation)
    assert (decision.reason, decision.order[0]) == ("sticky.hit", "new")


def test_an_unknown_price_of_the_present_provider_is_a_reason_to_stay(make: Make) -> None:
    lane = make.lane(make.provider("old", price=OLD), make.provider("new", price=None))
    remembered = Remembered((Warm("new", NOW + 60, PROMPT), Warm("old", NOW + 60, PROMPT)))
    assert choose(make.query(lane), remembered, ProviderStates(), NOW, b"").reason == "sticky.hit"


def test_of_several_earlier_places_the_cheapest_is_gone_back_to_and_the_others_follow(make: Make) -> None:
    prices = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 1.5}
    lane = make.lane(*(make.provider(name, price=times(factor)) for name, factor in prices.items()), max_attempts=4)
    remembered = Remembered(tuple(Warm(name, NOW + 60, PROMPT) for name in "abcd"))
    decision = choose(make.query(lane), remembered, ProviderStates(), NOW, b"")
    assert (decision.reason, decision.order) == ("sticky.returned", ("c", "a", "b", "d"))


USD = st.floats(0.01, 100.0)
PRICES = st.tuples(USD, USD, USD, USD).map(
    lambda usd: Price(input=sorted(usd[:3])[1], output=usd[3], cache_read=min(usd[:3]), cache_write=max(usd[:3]))
)


FACTORS = st.fixed_dictionaries({name: st.sampled_from([1.0, 1.25, 1.5, 2.0]) for name in "abc"})


@given(
    st.tuples(PRICES, PRICES, PRICES),
    st.sampled_from(["a", "ab", "abc"]),
    st.lists(st.tuples(st.integers(1024, 200_000), st.integers(0, 9000), st.integers(0, 9000), FACTORS), max_size=20),
)
def test_with_the_same_prices_and_nobody_unwell_a_conversation_leaves_each_provider_at_most_once(
    prices: tuple[Price, Price, Price], warm: str, turns: list[tuple[int, int, int, dict[str, float]]]
) -> None:
    """Whatever its prompts, answers and pauses are, and whatever is learned about the providers meanwhile."""
    make = Make()
    lane = make.lane(*(make.provider(name, price=price) for name, price in zip("abc", prices, strict=True)))
    remembered = Remembered(tuple(Warm(name, NOW + 60, PROMPT) for name in warm))
    left: set[str] = set()
    for number, (prompt, output, gap_s, factors) in enumerate(turns, 1):
        query = make.query(lane, prompt_tokens=prompt, output_tokens=output)
        pace = ConversationPace(number, NOW - gap_s, gap_s, prompt, output, output)
        remembered = structs.replace(remembered, pace=pace)
        decision = choose(query, remembered, ProviderStates(factors=factors), NOW, b"")
        if decision.reason == "unsticky.no_discount":
            return  # nothing is remembered of it from here on
        if decision.order[0] != remembered.warm[0].provider:
            assert decision.reason in ("sticky.returned", "sticky.moved.cheaper")
            left.add(remembered.warm[0].provider)
        assert decision.order[0] not in left
        remembered = with_warm(remembered, Warm(decision.order[0], NOW + 60, prompt), 4, NOW, None)


@pytest.mark.parametrize("waits", [1.0, 1.5])
def test_how_long_others_wait_here_moves_no_warm_conversation(make: Make, waits: float) -> None:
    assert decide(make, new=times(1.0), states=ProviderStates(factors={"new": waits})).reason == "sticky.hit"


@pytest.mark.parametrize(("waits", "back"), [(1.0, True), (1.25, False), (1.5, False)])
def test_how_long_others_wait_there_has_to_be_worth_the_price(make: Make, waits: float, back: bool) -> None:
    decision = decide(make, new=times(1.15), states=ProviderStates(factors={"old": waits}))
    assert decision.reason == ("sticky.returned" if back else "sticky.hit")


@given(PRICES, PRICES, st.integers(0, 9000), st.integers(0, 9000))
def test_who_has_gone_back_does_not_leave_again_for_the_same_prompt(
    old: Price, new: Price, warm_old: int, warm_new: int
) -> None:
    make = Make()
    lane = make.lane(make.provider("old", price=old), make.provider("new", price=new))
    query = make.query(lane, prompt_tokens=PROMPT)
    there, back = Warm("new", NOW + 60, warm_new), Warm("old", NOW + 60, warm_old)
    if choose(query, Remembered((there, back)), ProviderStates(), NOW, b"").reason != "sticky.returned":
        return
    served = Warm("old", NOW + 60, max(PROMPT, warm_new))
    assert choose(query, Remembered((served, there)), ProviderStates(), NOW, b"").reason != "sticky.returned"


@pytest.mark.parametrize(
    ("ends_in_s", "reason"), [(None, "sticky.moved.cheaper"), (7200.0, "sticky.moved.cheaper"), (30.0, "sticky.hit")]
)
def test_nobody_leaves_a_price_window_that_is_about_to_end(make: Make, ends_in_s: float | None, reason: str) -> None:
    """It is peak time at `here`; after it the price is half of that, below what `there` asks for."""
    lane = make.lane(make.provider("here", price=times(2)), make.provider("there", price=times(1.1)))
    here = lane.by_provider["here"]
    if ends_in_s is not None:
        here = structs.replace(here, next_price=NextPrice(NOW + ends_in_s, OLD))
    lane = Lane.of(lane.model, (here, lane.by_provider["there"]), lane.policy)
    pace = ConversationPace(40, NOW - 20, 20.0, PROMPT, 500, 400)
    remembered = Remembered((Warm("here", NOW + 60, PROMPT),), pace=pace)
    assert choose(make.query(lane), remembered, ProviderStates(), NOW, b"").reason == reason


SHARED = ConversationPace(turns=9, head_tokens=3000)


@pytest.mark.parametrize(
    ("pace", "here", "states", "asks"),
    [
        (SHARED, times(2), ProviderStates(), True),
        (SHARED, times(0.5), ProviderStates(), False),
        (SHARED, times(0.5), ProviderStates(health={"old": IN_TROUBLE["is down"]}), True),
        (ConversationPace(turns=9), times(2), ProviderStates(), False),
    ],
    ids=["dearer here", "cheapest here", "somebody is unwell", "it shares nothing"],
)
def test_where_else_a_shared_beginning_is_warm_is_asked_where_it_may_matter(
    make: Make, pace: ConversationPace, here: Price, states: ProviderStates, asks: bool
) -> None:
    lane = make.lane(make.provider("old", price=OLD), make.provider("new", price=here))
    query = make.query(lane, prompt_tokens=PROMPT)
    assert may_leave(query, Remembered((Warm("new", NOW + 60, PROMPT),), pace=pace), states) is asks
    assert not may_leave(query, Remembered((), pace=pace), states)
    assert may_leave(query, Remembered((Warm("gone", NOW + 60, PROMPT),), pace=pace), states) is bool(pace.head_tokens)
