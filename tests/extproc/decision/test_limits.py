"""Limits in a decision: a full provider is passed over, and the last resort."""

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import Limits
from limpet_extproc.decision.choose import Decision, choose
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.limits import UNUSED, Used, is_full, ratios
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.steering import Steering
from limpet_extproc.memory import Remembered, Warm

NOW = 1000.0
ALL = Limits(concurrent_requests=10, requests_per_minute=100, tokens_per_minute=44_000)
DOWN = HealthState(3, "down", NOW - 5, NOW + 5)


@pytest.mark.parametrize(
    ("used", "tokens", "full"),
    [
        (UNUSED, 44_000, False),
        (UNUSED, 44_001, False),  # there will never be more room for it
        (Used(requests=1, tokens=1), 44_000, True),
        (Used(under_way=9), 1, False),
        (Used(under_way=10), 1, True),
        (Used(requests=99), 1, False),
        (Used(requests=100), 1, True),
        (Used(tokens=43_000), 1000, False),
        (Used(tokens=43_001), 1000, True),
    ],
)
def test_a_provider_is_full_if_one_more_request_would_exceed_a_limit(used: Used, tokens: int, full: bool) -> None:
    assert is_full(ALL, used, tokens) == full


def test_the_use_of_each_limit_has_the_name_of_its_field() -> None:
    used = Used(5, 25, 44_000)
    assert ratios(ALL, used) == {"concurrentRequests": 0.5, "requestsPerMinute": 0.25, "tokensPerMinute": 1.0}
    assert ratios(Limits(requests_per_minute=50), used) == {"requestsPerMinute": 0.5}
    assert ratios(Limits(), used) == {}


def decide(
    make: Make,
    used: dict[str, Used],
    *warm: str,
    steering: Steering | None = None,
    health: dict[str, HealthState] | None = None,
    drain: str = "",
    mode: str = "Enforce",
) -> Decision:
    """For a request of 4,400 tokens, where `a` and `b` have limits and `c` has none."""
    limits = {"a": ALL, "b": ALL}
    providers = [make.provider(name, limits=limits.get(name), drain=name == drain) for name in "abc"]
    states = ProviderStates(health or {}, used=lambda name, _: used.get(name, UNUSED))
    remembered = Remembered(tuple(Warm(name, NOW + 100) for name in warm)) if warm else None
    query = make.query(make.lane(*providers, mode=mode), steering=steering)
    return choose(query, remembered, states, NOW, b"seed")


FULL = Used(under_way=10)
FULLER = Used(under_way=12)


def test_a_full_provider_is_passed_over(make: Make) -> None:
    decision = decide(make, {"a": FULL})
    assert decision.order[2:] == ("a",)
    assert decision.excluded == {"a": "over_limit"}


@pytest.mark.parametrize("mode", ["Off", "Observe"])
def test_it_is_passed_over_in_every_mode(make: Make, mode: str) -> None:
    assert decide(make, {"a": FULL, "b": FULL}, mode=mode).order[0] == "c"


def test_a_conversation_leaves_a_full_provider_for_its_next_warm_one(make: Make) -> None:
    decision = decide(make, {"a": FULL}, "a", "b")
    assert (decision.order[0], decision.reason) == ("b", "sticky.left.over_limit")
    assert decide(make, {"b": FULL}, "a", "b").reason == "sticky.hit"


def test_one_that_drains_is_full_like_any_other(make: Make) -> None:
    decision = decide(make, {"a": FULL}, "a", drain="a")
    assert decision.reason == "sticky.left.over_limit"
    assert decision.order[2:] == ("a",)


def test_a_full_one_is_no_trial(make: Make) -> None:
    on_trial = HealthState(trouble="down", until_s=NOW - 1)
    decision = decide(make, {"a": FULL}, "a", "b", health={"a": on_trial})
    assert (decision.order[0], decision.reason) == ("b", "sticky.left.over_limit")
    assert decision.order[2:] == ("a",)
    assert not decision.trial


def test_where_all_are_full_or_out_the_one_with_most_room_is_tried_first(make: Make) -> None:
    decision = decide(make, {"a": FULLER, "b": FULL}, health={"c": DOWN})
    assert (decision.order, decision.reason) == (("b", "a", "c"), "last_resort.all_out")


def test_the_size_of_the_request_does_not_decide_who_has_most_room(make: Make) -> None:
    small = Limits(concurrent_requests=3, tokens_per_minute=10)
    providers = (make.provider("a", limits=Limits(requests_per_minute=2)), make.provider("b", limits=small))

    def order(b: Used) -> tuple[tuple[str, ...], str]:
        states = ProviderStates(used=lambda name, _: Used(0, 2, 9) if name == "a" else b)
        decision = choose(make.query(make.lane(*providers)), None, states, NOW, b"seed")
        return decision.order, decision.reason

    assert order(UNUSED) == (("b", "a"), "first.scored"), "a request that alone exceeds a limit waits for nothing"
    assert order(Used(1, 1, 5)) == (("b", "a"), "last_resort.all_out")
    assert order(Used(0, 1, 4400)) == (("a", "b"), "last_resort.all_out")


def test_one_that_is_down_stays_down_when_it_is_full_too(make: Make) -> None:
    decision = decide(make, {"a": FULL}, health={"a": DOWN})
    assert decision.excluded == {"a": "down"}
    assert decision.order[2:] == ("a",)


def test_a_degraded_one_that_is_full_comes_after_all_that_have_room(make: Make) -> None:
    degraded = HealthState(trouble="degraded", since_s=NOW - 5, until_s=NOW + 5, cause="ErrorRate")
    decision = decide(make, {"a": FULL}, "a", health={"a": degraded, "b": DOWN})
    assert (decision.order, decision.reason) == (("c", "a", "b"), "sticky.left.over_limit")
    assert decision.excluded == {"a": "over_limit", "b": "down"}


def test_a_full_one_is_tried_all_the_same_if_the_client_allows_no_other(make: Make) -> None:
    only = Steering(only=("a",), allow_fallbacks=False)
    assert decide(make, {"a": FULL}, steering=only).order == ("a",)
