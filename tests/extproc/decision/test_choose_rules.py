"""Rules of the decision that hold for every catalog, memory and health, and how new conversations spread."""

from dataclasses import replace
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model, Policy
from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.choose import choose
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.learn import Learned, factors
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import why_not_sticky
from limpet_extproc.decision.snapshot import Lane, snapshot
from limpet_extproc.decision.steering import Steering
from limpet_extproc.memory import LastFailure, Remembered, Warm, with_failure

NOW = 1000.0
NAMES = [f"p{number}" for number in range(6)]
SOME_NAMES = st.lists(st.sampled_from([*NAMES, "stranger"]), max_size=4).map(tuple)
USD = st.sampled_from([0.0, 1e-200, 0.1, 0.12, 1.0, 50.0])

PRICES = st.none() | st.builds(Price, input=USD, output=USD, cache_read=USD, cache_write=USD)
PROVIDERS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True).flatmap(
    lambda names: st.tuples(
        *(
            st.builds(
                CatalogProvider,
                name=st.just(name),
                models=st.builds(
                    Model,
                    name=st.just("m"),
                    upstream_name=st.just("m"),
                    min_tokens=st.sampled_from([0, 1024]),
                    price=PRICES,
                ).map(lambda model: (model,)),
                caches=st.booleans(),
                weight=st.sampled_from([0, 1, 100]),
                drain=st.booleans(),
            )
            for name in names
        )
    )
)
POLICIES = st.builds(
    Policy,
    mode=st.sampled_from(["Enforce", "Observe", "Off"]),
    client_order=st.sampled_from(["Strict", "StickyWithin"]),
    max_attempts=st.integers(1, 8),
    spread_within_percent=st.sampled_from([0.0, 25.0, 200.0]),
)
STATES = st.builds(
    HealthState,
    failures=st.integers(0, 5),
    trouble=st.sampled_from([None, "degraded", "over_limit", "down"]),
    until_s=st.sampled_from([NOW - 50, NOW, NOW + 1, NOW + 50]),
    trial_until_s=st.sampled_from([0.0, NOW + 10]),
    returned_s=st.sampled_from([0.0, NOW - 100, NOW - 40, NOW - 10, NOW]),
)
LEARNED = st.builds(
    Learned, st.sampled_from([0, 9, 50]), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.2, 9.0])
)
UNFAILED = st.none() | st.builds(
    Remembered,
    st.lists(
        st.builds(
            Warm,
            st.sampled_from([*NAMES, "stranger"]),
            st.sampled_from([NOW - 50, NOW, NOW + 1, NOW + 50]),
            st.sampled_from([0, 400, 9000]),
        ),
        max_size=4,
        unique_by=lambda warm: warm.provider,
    ).map(tuple),
    st.none() | st.sampled_from(NAMES),
)
FAILURES = st.builds(
    LastFailure,
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(tuple),
    st.sampled_from([NOW - 61, NOW - 60, NOW - 59, NOW]),
)
MEMORIES = UNFAILED | st.builds(with_failure, UNFAILED, FAILURES)
STEERING = st.none() | st.builds(
    Steering,
    SOME_NAMES,
    st.none() | SOME_NAMES,
    SOME_NAMES,
    st.sampled_from([None, "price", "latency", "throughput"]),
    st.booleans(),
    max_prompt_usd=st.sampled_from([None, 0.11, 10.0]),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Query, Remembered | None, ProviderStates]:
    lane = snapshot(Catalog("r", draw(PROVIDERS), (draw(POLICIES),))).lanes["OpenAIChat", "m"]
    query = Query(
        lane, draw(st.binary(min_size=1, max_size=4)), draw(st.sampled_from([0, 500, 10_000])), 400, draw(STEERING)
    )
    by_name = st.dictionaries(st.sampled_from(NAMES), STATES)
    return query, draw(MEMORIES), ProviderStates(draw(by_name), draw(st.dictionaries(st.sampled_from(NAMES), LEARNED)))


def standing(states: ProviderStates, name: str) -> str:
    """What a decision may make of a provider: `up` (also on trial), `degraded` or `out`."""
    judged = states.judge(name, "m", NOW)
    if judged.trouble is None or judged.trial:
        return "up"
    return "degraded" if judged.trouble == "degraded" else "out"


def has_better(query: Query, states: ProviderStates) -> bool:
    """Whether there is anywhere to go from a degraded provider."""
    candidates = query.lane.by_provider
    return any(standing(states, name) == "up" and not candidates[name].drain for name in allowed(query))


@given(situations())
def test_an_order_names_candidates_once_and_those_that_are_out_last(
    situation: tuple[Query, Remembered | None, ProviderStates],
) -> None:
    query, remembered, states = situation
    decision = choose(query, remembered, states, NOW, b"seed")
    order = decision.order
    assert set(order) <= set(query.lane.by_provider)
    assert len(order) <= query.lane.policy.max_attempts
    assert len(set(order)) == len(order)
    all_out = bool(order) and all(standing(states, name) == "out" for name in allowed(query))
    out = [standing(states, name) == "out" for name in order]
    assert out == sorted(out)
    back_s = [states.judge(name, "m", NOW).until_s for name in order if standing(states, name) == "out"]
    assert back_s == sorted(back_s), "the one that comes back first before the others"
    if query.steering is None:
        attempts = min(query.lane.policy.max_attempts, len(query.lane.by_provider))
        assert len(order) == attempts, "none is left out while there are attempts"
    assert (decision.reason == "last_resort.all_out") == all_out


@given(situations())
def test_degraded_providers_come_after_all_that_are_up_unless_the_client_names_them(
    situation: tuple[Query, Remembered | None, ProviderStates],
) -> None:
    query, remembered, states = situation
    named = query.steering.order if query.steering else ()
    order = choose(query, remembered, states, NOW, b"seed").order
    ranks = [("up", "degraded", "out").index(standing(states, name)) for name in order if name not in named]
    assert ranks == sorted(ranks) or not has_better(query, states)


@given(situations())
def test_the_sticky_provider_comes_first_exactly_if_it_is_well_and_staying_pays(
    situation: tuple[Query, Remembered | None, ProviderStates],
) -> None:
    query, remembered, states = situation
    lane = query.lane
    query = msgspec.structs.replace(query, steering=None)
    decision = choose(query, remembered, states, NOW, b"seed")
    warm = [each for each in remembered.warm if each.until_s > NOW] if remembered else []
    if lane.policy.mode != "Enforce" or not warm:
        assert decision.reason not in ("sticky.hit", "sticky.returned")
        return
    sticky, *others = warm
    well = [standing(states, each.provider) for each in warm]
    trials = [states.judge(each.provider, "m", NOW).trial for each in warm]
    stays = sticky.provider in lane.by_provider and (
        well[0] == "up" or (well[0] == "degraded" and not has_better(query, states))
    )
    left_to_another = trials[0] and any(
        state == "up" and not trial and each.provider in lane.by_provider
        for each, state, trial in zip(others, well[1:], trials[1:], strict=True)
    )
    known = msgspec.structs.replace(query, prompt_tokens=max(query.prompt_tokens, sticky.prompt_tokens))
    pays = stays and why_not_sticky(lane.by_provider[sticky.provider], known) is None
    stayed = decision.reason in ("sticky.hit", "sticky.returned", "sticky.moved.cheaper")
    assert stayed == (pays and not left_to_another)
    if decision.reason == "sticky.hit":
        assert decision.order[0] == sticky.provider
    elif stayed:
        assert sticky.provider in decision.order[1:2] or lane.policy.max_attempts == 1
        returned = decision.order[0] in {each.provider for each in others}
        assert decision.reason == ("sticky.returned" if returned else "sticky.moved.cheaper")
        prices = [lane.by_provider[name].price for name in (decision.order[0], sticky.provider)]
        assert None not in prices, "an unknown price is a reason to stay, and none to move"


@given(situations())
def test_after_a_failure_the_next_turn_goes_to_another_that_is_up_if_there_is_one(
    situation: tuple[Query, Remembered | None, ProviderStates],
) -> None:
    query, remembered, states = situation
    query = msgspec.structs.replace(query, steering=None)
    failed = remembered.failed_lately(NOW) if remembered else ()
    candidates = query.lane.by_provider
    others = [
        name
        for name, candidate in candidates.items()
        if name not in failed
        and not candidate.drain
        and standing(states, name) == "up"
        and not states.judge(name, "m", NOW).trial
    ]
    order = choose(query, remembered, states, NOW, b"seed").order
    if query.lane.policy.mode == "Enforce" and others:
        assert order[0] not in failed
    unlimited = msgspec.structs.replace(query.lane.policy, max_attempts=8)
    query = msgspec.structs.replace(query, lane=replace(query.lane, policy=unlimited))
    without = msgspec.structs.replace(remembered, failure=None) if remembered else None
    assert set(choose(query, remembered, states, NOW, b"seed").order) == set(
        choose(query, without, states, NOW, b"seed").order
    ), "one that failed is still better than none"


def allowed(query: Query) -> set[str]:
    names = set(query.lane.by_provider)
    steering = query.steering
    if steering is None:
        return names
    names = names if steering.only is None else names & set(steering.only)
    names = names - set(steering.ignore)
    names = names & set(steering.order) if steering.order and not steering.allow_fallbacks else names
    limit = steering.max_prompt_usd
    prices = {name: query.lane.by_provider[name].price for name in names}
    return {name for name, price in prices.items() if limit is None or (price is not None and price.input <= limit)}


@given(situations())
def test_what_the_client_demands_is_obeyed(situation: tuple[Query, Remembered | None, ProviderStates]) -> None:
    query, remembered, states = situation
    order = choose(query, remembered, states, NOW, b"seed").order
    assert set(order) <= allowed(query)
    assert bool(order) == bool(allowed(query)), "a provider is tried as long as the client leaves one"
    if query.steering is not None and not query.steering.allow_fallbacks and not query.steering.order:
        assert len(order) <= 1


@given(situations(), st.binary(max_size=4))
def test_the_same_question_has_the_same_answer_on_every_replica(
    situation: tuple[Query, Remembered | None, ProviderStates], random_seed: bytes
) -> None:
    query, remembered, states = situation
    decision = choose(query, remembered, states, NOW, b"seed")
    assert choose(query, remembered, states, NOW, b"seed") == decision
    if query.lane.policy.mode == "Enforce" or query.steering is not None:
        assert choose(query, remembered, states, NOW, random_seed) == decision


@given(situations())
def test_every_provider_closed_to_new_conversations_is_excluded_with_a_reason(
    situation: tuple[Query, Remembered | None, ProviderStates],
) -> None:
    query, remembered, states = situation
    excluded = choose(query, remembered, states, NOW, b"seed").excluded
    for name in set(query.lane.by_provider) - allowed(query):
        assert excluded[name] in ("ignored", "not_in_only", "not_in_order", "above_max_price")
    for name in allowed(query):
        if standing(states, name) == "out":
            assert excluded[name] in ("down", "over_limit")
        elif standing(states, name) == "degraded" and has_better(query, states):
            assert excluded[name] == "degraded"
        elif query.lane.by_provider[name].drain:
            assert excluded[name] == "draining"
        else:
            just_failed = remembered.failed_lately(NOW) if remembered else ()
            assert excluded.get(name) in ((None, "just_failed") if name in just_failed else (None,))


@given(situations())
def test_weight_zero_takes_new_conversations_only_where_no_other_is_open(
    situation: tuple[Query, Remembered | None, ProviderStates],
) -> None:
    query, _, states = situation
    query = msgspec.structs.replace(query, steering=None)
    candidates = query.lane.by_provider
    first = candidates[choose(query, None, states, NOW, b"seed").order[0]]
    others = (c for c in candidates.values() if c.weight and not c.drain and standing(states, c.provider) == "up")
    assert first.weight or not any(others)


def fresh(lane: Lane, key: int) -> tuple[str, ...]:
    """The order for a new conversation; its key is as random as a real one."""
    return choose(Query(lane, Random(key).randbytes(16), 4000, 400), None, ProviderStates(), NOW, b"").order


CONVERSATIONS = range(2000)


def firsts(lane: Lane) -> list[str]:
    return [fresh(lane, key)[0] for key in CONVERSATIONS]


def test_a_new_provider_takes_its_share_and_moves_no_other_conversation(make: Make) -> None:
    before = firsts(make.lane(*map(make.provider, "abcd")))
    after = firsts(make.lane(*map(make.provider, "abcde")))
    assert all(new in (old, "e") for old, new in zip(before, after, strict=True))
    assert after.count("e") / len(after) == pytest.approx(1 / 5, abs=0.03)


def test_a_removed_provider_moves_its_own_conversations_only(make: Make) -> None:
    before = firsts(make.lane(*map(make.provider, "abcd")))
    after = firsts(make.lane(*map(make.provider, "abc")))
    assert all(old in (new, "d") for old, new in zip(before, after, strict=True))


def test_the_second_choice_is_where_a_conversation_goes_when_the_first_is_gone(make: Make) -> None:
    lane = make.lane(*map(make.provider, "abcd"))
    without = {gone: make.lane(*(make.provider(name) for name in "abcd" if name != gone)) for gone in "abcd"}
    for key in range(200):
        order = fresh(lane, key)
        assert fresh(without[order[0]], key)[0] == order[1]


@pytest.mark.parametrize(
    ("weights", "prices", "share_of_a"),
    [
        ((100, 100), (1.0, 1.0), 1 / 2),
        ((100, 300), (1.0, 1.0), 1 / 4),
        ((100, 0), (1.0, 1.0), 1.0),
        ((100, 0), (1.0, 0.5), 1.0),  # however cheap
        ((0, 0), (1.0, 0.5), 0.0),
        ((100, 100), (1.0, 1.2), 1.44 / 2.44),  # weight over price squared
        ((100, 100), (1.0, 1.3), 1.0),  # the other is not among the near-equals
        ((100, 100), (None, None), 1 / 2),
    ],
)
def test_new_conversations_spread_by_weight_over_price_squared(
    make: Make, weights: tuple[int, int], prices: tuple[float | None, float | None], share_of_a: float
) -> None:
    providers = (
        make.provider(name, weight=weight, price=None if usd is None else Price(usd, usd, 0, usd))
        for name, weight, usd in zip("ab", weights, prices, strict=True)
    )
    chosen = firsts(make.lane(*providers, spread_within_percent=25.0))
    assert chosen.count("a") / len(chosen) == pytest.approx(share_of_a, abs=0.04)


def test_an_unknown_price_counts_as_the_dearest_known_one_never_as_free(make: Make) -> None:
    cheap, dear = Price(1.0, 1.0, 0.1, 1.0), Price(10.0, 10.0, 1.0, 10.0)
    unknown = make.provider("u", price=None)
    beside_one = make.lane(unknown, make.provider("c", price=cheap))
    beside_two = make.lane(unknown, make.provider("c", price=cheap), make.provider("d", price=dear))
    assert {fresh(beside_one, key)[0] for key in range(50)} == {"u", "c"}, "as good as the only one with a price"
    assert {fresh(beside_two, key)[0] for key in range(50)} == {"c"}


@pytest.mark.parametrize("usd", [0.0, 1e-200])
def test_a_price_of_nothing_is_a_real_one_and_comes_first(make: Make, usd: float) -> None:
    free = make.provider("free", price=Price(usd, usd, usd, usd))
    assert {fresh(make.lane(make.provider("dear"), free), key)[0] for key in range(50)} == {"free"}


def test_trouble_moves_new_conversations_away(make: Make) -> None:
    lane = make.lane(make.provider("a"), make.provider("b"))
    troubled = ProviderStates(factors=factors({"a": Learned(50, 0.5), "b": Learned(50, 0.0)}, 0.0))
    for key in range(50):
        assert choose(make.query(lane, key=bytes([key])), None, troubled, NOW, b"").order[0] == "b"
