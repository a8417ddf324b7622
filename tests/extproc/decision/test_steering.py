"""What a client demands of its provider: who is left, who is not and why, and whether memory still has its say."""

from typing import Any

import msgspec
import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price, PriceRules, PriceTier
from limpet_extproc.decision.choose import choose
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.request_price import allowed_by_demands
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.steering import Allowed, Steering, steering_of
from limpet_extproc.dialects.port import ProviderObject
from limpet_extproc.memory import Remembered, Warm

NOW = 1000.0
CHEAP, DEAR = Price(0.1, 0.4, 0.01, 0.1), Price(2.0, 8.0, 0.2, 2.0)


@pytest.fixture
def lane(make: Make) -> Any:
    return make.lane(
        make.provider("cheap", price=CHEAP),
        make.provider("dear", price=DEAR, zero_retention=True),
        make.provider("unpriced", price=None, trains_on_prompts=False),
        make.provider("keeps", price=CHEAP, zero_retention=False, trains_on_prompts=True),
    )


ALL = {"cheap", "dear", "unpriced", "keeps"}


def allowed_by(asked: Steering, lane: Lane, **request: Any) -> Allowed:
    return allowed_by_demands(asked, msgspec.structs.replace(Make.query(lane), **request))


@pytest.mark.parametrize(
    ("asked", "left", "word"),
    [
        (Steering(only=("dear", "x")), {"dear"}, "not_in_only"),
        (Steering(ignore=("dear",)), ALL - {"dear"}, "ignored"),
        (Steering(order=("dear",)), ALL, None),
        (Steering(order=("dear",), allow_fallbacks=False), {"dear"}, "not_in_order"),
        (Steering(no_retention=True), {"dear"}, "data_policy"),
        (Steering(no_training=True), {"dear", "unpriced"}, "data_policy"),
        (Steering(max_prompt_usd=0.1), {"cheap", "keeps"}, "above_max_price"),
        (Steering(max_completion_usd=8.0), {"cheap", "keeps", "dear"}, "above_max_price"),
        (Steering(max_prompt_usd=0.09), set(), "above_max_price"),
        (Steering(unsupported=("provider.quantizations",)), set(), "demand_unknown"),
    ],
)
def test_a_provider_that_does_not_meet_a_demand_is_passed_over_for_a_reason(
    lane: Any, asked: Steering, left: set[str], word: str | None
) -> None:
    allowed = allowed_by(asked, lane)
    assert allowed.providers == left
    assert dict(allowed.excluded) == dict.fromkeys(ALL - left, word)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (Steering(only=("x",)), "provider.only"),
        (Steering(only=("dear",), ignore=("dear",)), "provider.ignore"),
        (Steering(only=("cheap",), no_retention=True), "provider.zdr"),
        (Steering(no_training=True, max_prompt_usd=0.1), "provider.max_price.prompt"),
        (Steering(unsupported=("provider.quantizations",), only=("cheap",)), "provider.quantizations"),
    ],
)
def test_the_demand_that_unmet_is_named(lane: Any, asked: Steering, param: str) -> None:
    assert allowed_by(asked, lane).unmet == param


FLEX = PriceRules((PriceTier(100_000, DEAR),), service_tiers={"flex": 0.5})


@pytest.mark.parametrize(
    ("most_usd", "request_", "left"),
    [
        (0.1, {}, True),
        (0.09, {}, False),
        (0.05, {"service_tier": "flex"}, True),
        (0.1, {"prompt_tokens": 100_000}, True),
        (0.1, {"prompt_tokens": 100_001}, False),
        (2.0, {"prompt_tokens": 100_001}, True),
        (1.0, {"prompt_tokens": 100_001, "service_tier": "flex"}, True),
    ],
)
def test_a_highest_price_is_held_against_what_this_request_costs(
    make: Make, most_usd: float, request_: dict[str, Any], left: bool
) -> None:
    lane = make.lane(make.provider("a", price=CHEAP, rules=FLEX))
    for asked in (Steering(max_prompt_usd=most_usd), Steering(max_completion_usd=4 * most_usd)):
        assert bool(allowed_by(asked, lane, **request_).providers) is left


def test_a_highest_price_that_is_the_price_is_met_whatever_floating_point_makes_of_it(make: Make) -> None:
    lane = make.lane(make.provider("a", price=Price(0.1, 0.1, 0.1, 0.1), rules=PriceRules(service_tiers={"x": 3.0})))
    for asked in (Steering(max_prompt_usd=0.3), Steering(max_completion_usd=0.3)):
        assert allowed_by(asked, lane, service_tier="x").providers == {"a"}


@pytest.fixture
def relayed(make: Make) -> Any:
    return make.lane(make.provider("own", price=DEAR), make.provider("relay", price=DEAR, reads_provider_object=True))


def test_a_provider_that_reads_the_object_itself_is_not_judged_here(relayed: Any) -> None:
    asked = Steering(
        no_retention=True, no_training=True, max_prompt_usd=0.0, max_completion_usd=0.0, unsupported=("provider.x",)
    )
    assert allowed_by(asked, relayed).providers == {"relay"}


@pytest.mark.parametrize(
    ("provider_object", "expected"),
    [
        (ProviderObject(), None),
        (ProviderObject(allow_fallbacks=True), None),
        (ProviderObject(order=("own",)), Steering(order=("own",))),
        (ProviderObject(order=("own", "deepinfra")), Steering(order=("own", "deepinfra"))),
        (ProviderObject(order=("deepinfra",)), Steering(order=("relay",))),
        (ProviderObject(only=("deepinfra",)), Steering(unsupported=("provider.only",))),
        (ProviderObject(ignore=("deepinfra",)), None),
        (ProviderObject(ignore=("own",)), Steering(ignore=("own",))),
    ],
)
def test_a_list_that_names_none_of_ours_is_for_a_provider_that_reads_the_object(
    relayed: Any, provider_object: ProviderObject, expected: Steering | None
) -> None:
    assert steering_of(provider_object, None, relayed, {"own", "relay"}) == expected


def test_where_no_provider_reads_the_object_a_list_of_strangers_leaves_none(lane: Any) -> None:
    asked = steering_of(ProviderObject(only=("deepinfra",)), None, lane, ALL)
    assert asked == Steering(only=("deepinfra",))
    assert allowed_by(asked, lane) == Allowed(frozenset(), dict.fromkeys(ALL, "not_in_only"), "provider.only")


def decided(make: Make, lane: Any, asked: Steering, warm: str) -> tuple[str, str]:
    remembered = Remembered((Warm(warm, NOW + 60),))
    decision = choose(make.query(lane, steering=asked), remembered, ProviderStates(), NOW, b"seed")
    return decision.reason, decision.order[0]


def test_a_demand_of_a_kind_leaves_stickiness_on(make: Make, lane: Any) -> None:
    asked = Steering(no_training=True)
    assert decided(make, lane, asked, "dear") == ("sticky.hit", "dear")
    assert decided(make, lane, asked, "keeps")[0] == "sticky.left.not_candidate"
    assert decided(make, lane, asked, "keeps")[1] in ("dear", "unpriced")


def test_a_demand_of_a_kind_holds_in_every_mode(make: Make, lane: Lane) -> None:
    for mode in ("Off", "Observe", "Enforce"):
        policy = msgspec.structs.replace(lane.policy, mode=mode)
        under = Lane.of(lane.model, lane.candidates, policy)
        decision = choose(make.query(under, steering=Steering(no_retention=True)), None, ProviderStates(), NOW, b"seed")
        assert decision.order == ("dear",)
