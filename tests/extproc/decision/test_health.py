"""What the state of a provider's health means at an instant, for a decision and for a person."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import Trouble
from limpet_extproc.decision.health import (
    HEALTHY,
    TROUBLES,
    UP,
    HealthState,
    Judgement,
    badness,
    explain,
    judge,
    share,
)

DOWN = HealthState(3, "down", 0.0, 5.0, 5.0, cause="ServerError")
LIMITED = HealthState(trouble="over_limit", since_s=0.0, until_s=30.0, cause="Limited")
SLOW = HealthState(trouble="degraded", since_s=0.0, until_s=10.0, cause="SlowFirstByte")


@pytest.mark.parametrize(
    ("states", "now_s", "expected"),
    [
        ((), 0, UP),
        ((HEALTHY, HealthState(failures=2)), 0, UP),
        ((DOWN,), 4, Judgement("down", False, "ServerError", 0.0, 5.0)),
        ((DOWN,), 5, Judgement("down", True, "ServerError", 0.0, 5.0)),
        ((HealthState(3, "down", 0.0, 5.0, 5.0, 65.0),), 64, Judgement("down", False, "", 0.0, 65.0)),
        # of several states the worst counts, and a trial needs the leave of all
        ((SLOW, LIMITED), 12, Judgement("over_limit", False, "Limited", 0.0, 30.0)),
        ((DOWN, LIMITED), 6, Judgement("down", False, "ServerError", 0.0, 30.0)),
        ((DOWN, LIMITED), 30, Judgement("down", True, "ServerError", 0.0, 30.0)),
    ],
)
def test_the_verdict_is_the_worst_of_all_that_concerns_a_request(
    states: tuple[HealthState, ...], now_s: float, expected: Judgement
) -> None:
    assert judge(states, now_s) == expected


STATES = st.builds(
    HealthState,
    failures=st.integers(0, 5),
    trouble=st.sampled_from([None, "degraded", "over_limit", "down"]),
    until_s=st.floats(0, 100),
    trial_until_s=st.floats(0, 100),
)


@given(st.lists(STATES), STATES, st.floats(0, 100))
def test_one_more_state_never_makes_a_verdict_better(
    states: list[HealthState], more: HealthState, now_s: float
) -> None:
    before, after = judge(states, now_s), judge([*states, more], now_s)
    assert TROUBLES.index(after.trouble) >= TROUBLES.index(before.trouble)
    if before.trouble is not None:
        assert after.trial <= before.trial


@given(STATES, STATES)
def test_the_worse_trouble_is_always_the_worse_state(one: HealthState, other: HealthState) -> None:
    order: list[Trouble | None] = [None, "degraded", "over_limit", "down"]
    if order.index(one.trouble) > order.index(other.trouble):
        assert badness(one) > badness(other)


@pytest.mark.parametrize(
    ("state", "now_s", "expected"),
    [
        (HEALTHY, 1000, 1.0),
        (HealthState(returned_s=1000), 1000, 0.05),
        (HealthState(returned_s=1000), 1015, 0.5),
        (HealthState(returned_s=1000), 1030, 1.0),
        (HealthState(returned_s=1000), 9000, 1.0),
        (HealthState(returned_s=1000), 990, 0.05),  # a clock that went back
    ],
)
def test_a_returning_provider_gets_its_share_back_over_half_a_minute(
    state: HealthState, now_s: float, expected: float
) -> None:
    assert share(state, now_s) == expected


@pytest.mark.parametrize(
    ("state", "now_s", "expected"),
    [
        (HEALTHY, 0, "a is up"),
        (DOWN, 2, "a failed 3 times in a row, out for 2 s, next trial in 3 s"),
        (DOWN, 9, "a failed 3 times in a row, out for 9 s; it is tried again by the next request"),
        (LIMITED, 31, "a was rate-limiting us (429) until 1 s ago; it is tried again by the next request"),
        (
            HealthState(trouble="down", failures=3, until_s=5.0, trial_until_s=60.0),
            9,
            "a failed 3 times in a row, out for 9 s; a request is trying it",
        ),
        (LIMITED, 10, "a is rate-limiting us (429), out for 10 s, next trial in 20 s"),
        (
            HealthState(trouble="over_limit", until_s=300.0, cause="Limited", asked_s=86400.0),
            0,
            "a is rate-limiting us (429), out for 0 s, next trial in 300 s (it asked for 86400 s)",
        ),
        (
            HealthState(trouble="over_limit", until_s=5.0, cause="Overloaded"),
            0,
            "a is overloaded, out for 0 s, next trial in 5 s",
        ),
        (SLOW, 1, "a answers far later than it used to, out for 1 s, next trial in 9 s"),
        (
            HealthState(trouble="degraded", until_s=10.0, cause="ErrorRate"),
            0,
            "a fails too many requests, out for 0 s, next trial in 10 s",
        ),
        (HealthState(trouble="down", until_s=10.0, probed=True), 7, "a is down according to probes (for 7 s)"),
    ],
)
def test_the_explanation_names_the_problem_and_the_next_trial(state: HealthState, now_s: float, expected: str) -> None:
    assert explain("a", state, now_s) == expected
