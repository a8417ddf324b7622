"""The decision as tables, one for each family of reasons: who comes first, why, and who is left out."""

from collections.abc import Mapping
from typing import Any

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.choose import Decision, choose
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.speed import AnswerSpeed, SpeedOf
from limpet_extproc.decision.steering import Steering
from limpet_extproc.memory import FAILED_S, LastFailure, Remembered, Warm

NOW = 1000.0
DOWN = HealthState(failures=3, trouble="down", since_s=990.0, until_s=1010.0, pause_s=20.0)
LIMITED = HealthState(trouble="over_limit", since_s=990.0, until_s=1005.0)
TRIAL = HealthState(failures=3, trouble="down", since_s=900.0, until_s=999.0, pause_s=5.0)
BEING_TRIED = HealthState(failures=3, trouble="down", since_s=900.0, until_s=999.0, pause_s=5.0, trial_until_s=1030.0)
DEGRADED = HealthState(trouble="degraded", since_s=990.0, until_s=1010.0, cause="ErrorRate")
DEGRADED_TRIAL = HealthState(trouble="degraded", since_s=900.0, until_s=999.0, cause="ErrorRate")
BACK = HealthState(returned_s=NOW - 40)
"""Takes all new conversations, and has not been well for long."""

CHEAP, DEAR, DEARER = (Price(usd, 4 * usd, usd / 10, usd) for usd in (1.0, 1.3, 1.7))
PRICES = {"a": CHEAP, "b": DEAR, "c": DEARER}
"""Far enough apart that the order without memory is a, b, c, and near enough that it pays to stay."""


def warm(*names: str, until_s: float = NOW + 60) -> Remembered:
    return Remembered(tuple(Warm(name, until_s, 4000) for name in names))


def failed(*names: str, warm: str = "", pending: str | None = None, at_s: float = NOW - 1) -> Remembered:
    return Remembered(tuple(Warm(name, NOW + 60, 4000) for name in warm), pending, LastFailure(names, at_s))


def decide(
    make: Make,
    remembered: Remembered | None = None,
    *,
    health: Mapping[str, HealthState] | None = None,
    speeds: SpeedOf | None = None,
    steering: Steering | None = None,
    providers: Mapping[str, Any] | None = None,
    key: bytes = b"conversation",
    random_seed: bytes = b"seed",
    **policy: Any,
) -> Decision:
    """Among a, b and c; `providers` are fields by name that differ."""
    fields: dict[str, Any] = {name: {"price": price} for name, price in PRICES.items()}
    for name, own in (providers or {}).items():
        fields[name] = {**fields[name], **own}
    lane = make.lane(*(make.provider(name, **own) for name, own in fields.items()), **policy)
    query = make.query(lane, key=key, steering=steering)
    return choose(query, remembered, ProviderStates(health or {}, speeds={make.model: speeds or {}}), NOW, random_seed)


@pytest.mark.parametrize(
    ("remembered", "health", "reason", "order"),
    [
        (None, {}, "first.scored", "abc"),
        (warm("c"), {}, "sticky.hit", "cab"),
        (warm("c", "b"), {"b": BACK}, "sticky.hit", "cba"),
        (warm("c", "b"), {}, "sticky.returned", "bca"),
        (warm("c", "gone", "b"), {}, "sticky.returned", "bca"),
        (warm("c", "b"), {"b": DOWN}, "sticky.hit", "cab"),
        (warm("c"), {"a": DOWN}, "sticky.hit", "cba"),
        (warm("c"), {"c": TRIAL}, "sticky.hit", "cab"),
        (warm("c", "b"), {"c": TRIAL}, "sticky.left.down", "bca"),
        (warm("c", "b"), {"c": TRIAL, "b": TRIAL}, "sticky.hit", "cba"),
        (warm("c", "b", "a"), {"b": TRIAL, "a": BACK}, "sticky.hit", "cab"),
        (warm("c", until_s=NOW), {}, "sticky.expired", "abc"),
        (warm("c"), {"c": DOWN}, "sticky.left.down", "abc"),
        (warm("c", "b"), {"c": DOWN}, "sticky.left.down", "bac"),
        (warm("c"), {"c": BEING_TRIED}, "sticky.left.down", "abc"),
        (warm("c"), {"c": LIMITED}, "sticky.left.over_limit", "abc"),
        (warm("c"), {"c": DEGRADED}, "sticky.left.degraded", "abc"),
        (warm("c", "b"), {"c": DEGRADED}, "sticky.left.degraded", "bac"),
        (warm("c", "b"), {"b": DEGRADED}, "sticky.hit", "cab"),
        (warm("c"), {"c": DEGRADED_TRIAL}, "sticky.hit", "cab"),
        (warm("c", "b"), {"c": DEGRADED_TRIAL}, "sticky.left.degraded", "bca"),
        (None, {"a": DEGRADED}, "first.scored", "bca"),
        (None, {"a": DEGRADED, "b": DEGRADED}, "first.scored", "cab"),
        (None, {"a": DEGRADED_TRIAL}, "first.scored", "abc"),
        (warm("c"), {"a": DEGRADED, "b": DEGRADED, "c": DEGRADED}, "sticky.hit", "cab"),
        (None, {"a": DEGRADED, "b": DEGRADED, "c": DEGRADED}, "first.scored", "abc"),
        (warm("b"), {"a": LIMITED, "b": DEGRADED, "c": DOWN}, "sticky.hit", "bac"),
        (warm("gone"), {}, "sticky.left.not_candidate", "abc"),
        (warm("gone", "b"), {}, "sticky.left.not_candidate", "bac"),
        (Remembered((), "c"), {}, "sticky.pending", "cab"),
        (Remembered((), "c"), {"c": DOWN}, "first.scored", "abc"),
        (Remembered((), "c"), {"c": DEGRADED}, "first.scored", "abc"),
        (Remembered((), "gone"), {}, "first.scored", "abc"),
        (failed("a"), {}, "sticky.left.failed", "bca"),
        (failed("b"), {}, "sticky.left.failed", "acb"),
        (failed("b", "a"), {}, "sticky.left.failed", "cab"),
        (failed("a", "b", "c"), {}, "first.scored", "abc"),
        (failed("gone"), {}, "sticky.left.failed", "abc"),
        (failed("a", at_s=NOW - FAILED_S), {}, "first.scored", "abc"),
        (failed("a"), {"b": DOWN, "c": LIMITED}, "first.scored", "acb"),
        (failed("a"), {"b": DEGRADED, "c": DOWN}, "first.scored", "abc"),
        (failed("a"), {"b": TRIAL, "c": DOWN}, "first.scored", "abc"),
        (failed("a"), {"b": TRIAL}, "sticky.left.failed", "bca"),
        (failed("a"), {"a": DEGRADED, "b": DEGRADED, "c": DEGRADED}, "sticky.left.failed", "bca"),
        (failed("a"), {"b": DEGRADED}, "sticky.left.failed", "cab"),
        (failed("a"), {"a": DOWN}, "sticky.left.failed", "bca"),
        (failed("a", warm="c"), {}, "sticky.hit", "cba"),
        (failed("a", warm="c"), {"c": DOWN}, "sticky.left.down", "bac"),
        (failed("c", warm="c"), {}, "sticky.left.failed", "abc"),
        (failed("a", pending="c"), {}, "sticky.pending", "cba"),
        (failed("a", pending="a"), {}, "sticky.left.failed", "bca"),
        (None, {"a": DOWN, "b": DOWN, "c": DOWN}, "last_resort.all_out", "abc"),
        (warm("b"), {"a": DOWN, "b": LIMITED, "c": DOWN}, "last_resort.all_out", "bac"),
    ],
)
def test_memory_and_health_decide_which_provider_comes_first(
    make: Make, remembered: Remembered | None, health: dict[str, HealthState], reason: str, order: str
) -> None:
    decision = decide(make, remembered, health=health)
    assert (decision.reason, "".join(decision.order)) == (reason, order)
    assert decision.enforce_reason is None


@pytest.mark.parametrize(
    ("provider", "reason"),
    [
        ({"caches": False}, "unsticky.no_cache"),
        ({"min_tokens": 4001}, "unsticky.below_minimum"),
        ({"price": Price(1.7, 6.8, 1.7, 1.7)}, "unsticky.no_discount"),
        ({"min_tokens": 4000}, "sticky.hit"),
        ({"price": None}, "sticky.hit"),
    ],
)
def test_staying_has_to_pay(make: Make, provider: dict[str, Any], reason: str) -> None:
    decision = decide(make, warm("c"), providers={"c": provider})
    assert decision.reason == reason
    assert decision.order[0] == ("c" if reason == "sticky.hit" else "a")


def test_a_cache_that_lives_longer_is_gone_back_to_when_the_newest_has_run_out(make: Make) -> None:
    decision = decide(make, Remembered((Warm("b", NOW, 4000), Warm("c", NOW + 60, 4000))))
    assert (decision.reason, decision.order[0]) == ("sticky.hit", "c")


def test_what_the_provider_counted_last_time_outweighs_the_estimate(make: Make) -> None:
    counted = Remembered((Warm("c", NOW + 60, prompt_tokens=5000),))
    assert decide(make, counted, providers={"c": {"min_tokens": 4500}}).reason == "sticky.hit"


@pytest.mark.parametrize(
    ("steering", "reason", "order", "excluded"),
    [
        (Steering(order=("c", "b")), "bypass.order", "cba", {}),
        (Steering(order=("c", "c", "b", "c")), "bypass.order", "cba", {}),
        (Steering(order=("x", "c")), "bypass.order", "cab", {"x": "not_candidate"}),
        (
            Steering(order=("c",), allow_fallbacks=False),
            "bypass.order",
            "c",
            {"a": "not_in_order", "b": "not_in_order"},
        ),
        (Steering(order=("c", "b"), allow_fallbacks=False), "bypass.order", "cb", {"a": "not_in_order"}),
        (
            Steering(order=("x",), allow_fallbacks=False),
            "bypass.order",
            "",
            {**dict.fromkeys("abc", "not_in_order"), "x": "not_candidate"},
        ),
        (Steering(only=("b", "c")), "bypass.only", "bc", {"a": "not_in_only"}),
        (Steering(only=("x",)), "bypass.only", "", {**dict.fromkeys("abc", "not_in_only"), "x": "not_candidate"}),
        (Steering(only=("b", "c"), order=("c",)), "bypass.order", "cb", {"a": "not_in_only"}),
        (Steering(ignore=("a",)), "bypass.ignore", "bc", {"a": "ignored"}),
        (Steering(ignore=("x",)), "bypass.ignore", "abc", {}),
        (Steering(sort="price"), "bypass.sort", "bac", {}),  # warm at b, which is the dearer one
        (Steering(sort="latency"), "bypass.sort", "cba", {}),
        (Steering(sort="throughput"), "bypass.sort", "bca", {}),
        (Steering(allow_fallbacks=False), "bypass.allow_fallbacks", "a", {}),
    ],
)
def test_the_client_steers_and_is_obeyed(
    make: Make, steering: Steering, reason: str, order: str, excluded: dict[str, str]
) -> None:
    speeds = {
        "a": AnswerSpeed(20, 0.3, True, 30.0, NOW),
        "b": AnswerSpeed(20, 0.2, True, 50.0, NOW),
        "c": AnswerSpeed(20, 0.1, True, 40.0, NOW),
    }
    decision = decide(make, warm("b"), steering=steering, speeds=speeds)
    assert (decision.reason, "".join(decision.order), decision.excluded) == (reason, order, excluded)


def test_a_provider_that_is_out_is_the_last_resort_whatever_the_client_says(make: Make) -> None:
    decision = decide(make, steering=Steering(order=("c", "b")), health={"c": DOWN})
    assert (decision.order, decision.excluded) == (("b", "a", "c"), {"c": "down"})
    within = decide(make, steering=Steering(order=("c", "b"), allow_fallbacks=False), health={"c": DOWN})
    assert within.order == ("b", "c")
    alone = decide(make, steering=Steering(order=("c",), allow_fallbacks=False), health={"c": DOWN})
    assert (alone.order, alone.reason) == (("c",), "last_resort.all_out")


def test_a_warm_provider_on_trial_that_the_client_rules_out_is_not_tried(make: Make) -> None:
    decision = decide(make, warm("c", "b"), health={"c": TRIAL}, steering=Steering(max_prompt_usd=1.5))
    assert (decision.order, decision.excluded) == (("b", "a"), {"c": "above_max_price"})


def test_a_degraded_provider_comes_after_the_others_unless_the_client_names_it(make: Make) -> None:
    health = {"a": DEGRADED}
    for steering in (Steering(sort="price"), Steering(ignore=("x",))):
        decision = decide(make, steering=steering, health=health)
        assert (decision.order, decision.excluded) == (("b", "c", "a"), {"a": "degraded"})
    assert decide(make, steering=Steering(order=("a",)), health=health).order == ("a", "b", "c")
    assert decide(make, steering=Steering(only=("a",)), health=health).excluded.get("a") is None


def test_the_client_may_send_a_request_to_a_provider_that_drains(make: Make) -> None:
    assert decide(make, steering=Steering(order=("c",)), providers={"c": {"drain": True}}).order[0] == "c"


@pytest.mark.parametrize(
    ("steering", "remembered", "reason", "order"),
    [
        (Steering(order=("a", "b", "c")), warm("c"), "sticky.within", "cab"),
        (Steering(order=("a", "b")), warm("c"), "bypass.order", "abc"),
        (Steering(only=("a", "c")), warm("c"), "sticky.within", "ca"),
        (Steering(only=("a", "b")), warm("c"), "bypass.only", "ab"),
        (Steering(ignore=("c",)), warm("c"), "bypass.ignore", "ab"),
        (Steering(sort="price"), warm("c"), "sticky.within", "cab"),
        (Steering(order=("a", "c"), allow_fallbacks=False), warm("c"), "sticky.within", "ca"),
        (Steering(order=("b",)), None, "bypass.order", "bac"),
        (Steering(order=("b",)), warm("b", until_s=NOW), "bypass.order", "bac"),
    ],
)
def test_sticky_within_prefers_the_warm_one_inside_the_clients_own_set(
    make: Make, steering: Steering, remembered: Remembered | None, reason: str, order: str
) -> None:
    decision = decide(make, remembered, steering=steering, client_order="StickyWithin")
    assert (decision.reason, "".join(decision.order)) == (reason, order)
    for mode in ("Off", "Observe"):
        unsticky = decide(make, remembered, steering=steering, client_order="StickyWithin", mode=mode)
        assert unsticky.reason.startswith("bypass.")


def test_a_provider_that_drains_keeps_its_conversations_and_gets_no_new_ones(make: Make) -> None:
    draining = {"a": {"drain": True}}
    assert decide(make, warm("a"), providers=draining).order == ("a", "b", "c")
    assert decide(make, Remembered((), "a"), providers=draining).reason == "sticky.pending"
    fresh = decide(make, providers=draining)
    assert (fresh.order, fresh.excluded) == (("b", "c", "a"), {"a": "draining"})
    assert decide(make, providers=draining, health={"b": DOWN, "c": DOWN}).order == ("a", "b", "c")


def test_a_provider_that_drains_comes_before_degraded_ones_unless_these_are_all_there_is(make: Make) -> None:
    draining = {"a": {"drain": True}}
    one = decide(make, providers=draining, health={"b": DEGRADED})
    assert (one.order, one.excluded) == (("c", "a", "b"), {"a": "draining", "b": "degraded"})
    both = decide(make, providers=draining, health={"b": DEGRADED, "c": DEGRADED})
    assert (both.order, both.excluded) == (("b", "c", "a"), {"a": "draining"})
    everyone = decide(make, warm("a"), providers=draining, health=dict.fromkeys("abc", DEGRADED))
    assert (everyone.order, everyone.reason) == (("a", "b", "c"), "sticky.hit")


def test_no_more_attempts_than_the_policy_allows(make: Make) -> None:
    assert decide(make, warm("c"), max_attempts=2).order == ("c", "a")
    assert decide(make, max_attempts=1).order == ("a",)


def test_a_provider_whose_time_out_is_over_is_marked_as_tried_again(make: Make) -> None:
    assert decide(make, warm("c"), health={"c": TRIAL}).trial
    assert not decide(make, warm("b"), health={"c": TRIAL}).trial
    assert not decide(make, warm("b", "a"), health={"a": TRIAL}).trial
    assert not decide(make, warm("a", "b"), health={"a": TRIAL}).trial, "left to one that is warm nowhere else"
    assert decide(make, health={"a": TRIAL}).trial
    assert decide(make, health={"a": DEGRADED_TRIAL}).trial


NEAR = {name: {"price": CHEAP} for name in PRICES}


def test_off_has_no_conversation(make: Make) -> None:
    one = {decide(make, warm("c"), providers=NEAR, mode="Off", key=bytes([n])).order for n in range(50)}
    assert len(one) == 1, "the conversation's key does not matter"
    many = [decide(make, warm("c"), providers=NEAR, mode="Off", random_seed=bytes([n])) for n in range(50)]
    assert {decision.order[0] for decision in many} == {"a", "b", "c"}
    assert {decision.reason for decision in many} == {"off.spread"}


@pytest.mark.parametrize("mode", ["Enforce", "Observe", "Off"])
def test_a_request_without_a_conversation_goes_anywhere_in_every_mode(make: Make, mode: str) -> None:
    lane = make.lane(*(make.provider(name) for name in "abc"), mode=mode)
    query = make.query(lane, stays=False)
    many = [choose(query, None, ProviderStates({}, {}), NOW, bytes([n])) for n in range(50)]
    assert {decision.order[0] for decision in many} == {"a", "b", "c"}
    assert {(decision.reason, decision.enforce_reason) for decision in many} == {("stateless.spread", None)}
    steered = make.query(lane, stays=False, steering=Steering(ignore=("a",)))
    orders = {choose(steered, None, ProviderStates({}, {}), NOW, bytes([n])).order for n in range(50)}
    assert {order[0] for order in orders} == {"b", "c"}


def test_observe_does_what_off_does_and_notes_what_enforce_would_have_done(make: Make) -> None:
    for n in range(50):
        random_seed = bytes([n])
        observed = decide(make, warm("c"), providers=NEAR, mode="Observe", random_seed=random_seed)
        assert (observed.enforce_provider, decide(make, warm("c"), providers=NEAR).enforce_provider) == ("c", "")
        assert observed.order == decide(make, warm("c"), providers=NEAR, mode="Off", random_seed=random_seed).order
        assert (observed.reason, observed.enforce_reason) == ("observe.spread", "sticky.hit")


def test_an_error_names_what_is_wrong_with_each_provider() -> None:
    health = {"a": DOWN, "b": LIMITED}
    problems = ProviderStates(health).problems(("b", "c"), "m", NOW)
    assert problems == "b is rate-limiting us (429), out for 10 s, next trial in 5 s"
    assert ProviderStates().problems(("b", "c"), "m", NOW) == ""
    of_one_model = ProviderStates(by_model={("b", "m"): LIMITED, ("a", "another"): DOWN})
    assert of_one_model.problems(("b", "c"), "m", NOW) == problems


def test_a_provider_that_just_failed_comes_before_those_that_drain_and_is_named_as_passed_over(make: Make) -> None:
    decision = decide(make, failed("a"), providers={"b": {"drain": True}})
    assert (decision.reason, "".join(decision.order)) == ("sticky.left.failed", "cab")
    assert decision.excluded == {"a": "just_failed", "b": "draining"}


@pytest.mark.parametrize(
    ("steering", "order"),
    [
        (Steering(order=("a",)), "abc"),
        (Steering(only=("a", "b")), "ab"),
        (Steering(sort="price"), "abc"),
        (Steering(allow_fallbacks=False), "a"),
        (Steering(no_training=True), "bca"),
    ],
)
def test_a_client_that_chooses_is_obeyed_whatever_failed_before(make: Make, steering: Steering, order: str) -> None:
    trains_not = {name: {"trains_on_prompts": False} for name in "abc"}
    assert "".join(decide(make, failed("a"), steering=steering, providers=trains_not).order) == order


def test_stickiness_that_is_only_observed_leaves_it_too(make: Make) -> None:
    decision = decide(make, failed("a"), mode="Observe")
    assert (decision.reason, decision.enforce_reason, decision.order[0]) == (
        "observe.spread",
        "sticky.left.failed",
        "a",
    )
