"""The health of a provider after its traffic: a table of stories, and rules that hold after any of them."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.decision.health import (
    DEFAULT_THRESHOLDS,
    HEALTHY,
    HealthState,
    after_failure,
    after_limit,
    begin_trial,
    explain,
    verdict,
)

Event = tuple[float, Literal["ok", "fail", "limit", "trial"], float]
"""When, what, and for a 429 the seconds it asks for."""


def after(*events: Event, state: HealthState = HEALTHY) -> HealthState:
    for now_s, what, retry_after_s in events:
        if what == "ok":
            state = HEALTHY
        elif what == "fail":
            state = after_failure(state, now_s)
        elif what == "limit":
            state = after_limit(state, now_s, retry_after_s)
        else:
            state = begin_trial(state, now_s)
    return state


def fails(*times_s: float) -> list[Event]:
    return [(now_s, "fail", 0) for now_s in times_s]


DOWN = fails(0, 0, 0)
"""Three failures in a row: out until second 5."""


@pytest.mark.parametrize(
    ("events", "now_s", "expected"),
    [
        ([], 0, "up"),
        (fails(0), 0, "up"),
        (fails(0, 1), 1, "up"),
        (DOWN, 0, "down"),
        (DOWN, 4.9, "down"),
        (DOWN, 5, "trial"),
        ([*fails(0, 0), (1, "ok", 0), *fails(2, 2)], 2, "up"),
        # one trial at a time, whose outcome decides
        ([*DOWN, (5, "trial", 0)], 5, "down"),
        ([*DOWN, (5, "trial", 0)], 64, "down"),
        ([*DOWN, (5, "trial", 0)], 65, "trial"),
        ([*DOWN, (5, "trial", 0), (6, "ok", 0)], 6, "up"),
        ([*DOWN, (5, "trial", 0), (6, "fail", 0)], 15.9, "down"),
        ([*DOWN, (5, "trial", 0), (6, "fail", 0)], 16, "trial"),
        # what was under way when it went out neither prolongs nor shortens
        ([*DOWN, *fails(1, 2, 3, 4)], 5, "trial"),
        ([(0, "limit", 100), (1, "fail", 0)], 99, "over_limit"),
        ([*DOWN, (1, "ok", 0)], 1, "up"),
        # 429
        ([(0, "limit", 30)], 29, "over_limit"),
        ([(0, "limit", 30)], 30, "trial"),
        ([(0, "limit", 0)], 0, "trial"),
        ([(0, "limit", 10_000)], 299, "over_limit"),
        ([(0, "limit", 10_000)], 300, "trial"),
        ([(0, "limit", 30), (1, "limit", 5)], 29, "over_limit"),
        ([(0, "limit", 30), (30, "trial", 0), (31, "limit", 30)], 60, "over_limit"),
        ([(0, "limit", 30), (30, "trial", 0), (31, "fail", 0)], 35, "down"),
        ([(0, "limit", 30), (30, "trial", 0), (31, "ok", 0)], 31, "up"),
    ],
)
def test_the_story_of_a_provider_decides_what_a_request_may_do(
    events: list[Event], now_s: float, expected: str
) -> None:
    assert verdict(after(*events), now_s) == expected


def test_every_failed_trial_doubles_the_time_out_up_to_a_minute() -> None:
    state, lengths = after(*DOWN), []
    for _ in range(6):
        lengths.append(state.cooldown_s)
        now_s = state.until_s
        state = after((now_s, "trial", 0), (now_s, "fail", 0), state=state)
    assert lengths == [5, 10, 20, 40, 60, 60]
    assert state.since_s == 0, "out since it first went out"


EVENTS = st.lists(
    st.tuples(st.floats(0, 20), st.sampled_from(["ok", "fail", "limit", "trial"]), st.floats(0, 1000)), max_size=12
)


@given(EVENTS)
def test_whatever_happens_it_is_tried_again_in_bounded_time(story: list[Event]) -> None:
    now_s, state = 0.0, HEALTHY
    for pause_s, what, retry_after_s in story:
        now_s += pause_s
        if what == "trial" and verdict(state, now_s) != "trial":
            continue  # only a request with this verdict tries
        state = after((now_s, what, retry_after_s), state=state)
    longest_s = max(
        DEFAULT_THRESHOLDS.max_cooldown_s, DEFAULT_THRESHOLDS.max_retry_after_s, DEFAULT_THRESHOLDS.trial_timeout_s
    )
    assert verdict(state, now_s + longest_s) in ("up", "trial")


@pytest.mark.parametrize(
    ("events", "now_s", "expected"),
    [
        ([], 0, "a is up"),
        (DOWN, 2, "a failed 3 times in a row, out for 2 s, next trial in 3 s"),
        (DOWN, 9, "a failed 3 times in a row, out for 9 s, next trial in 0 s"),
        ([(0, "limit", 30)], 10, "a is rate-limiting us (429), out for 10 s, next trial in 20 s"),
    ],
)
def test_the_explanation_names_the_problem_and_the_next_trial(events: list[Event], now_s: float, expected: str) -> None:
    assert explain("a", after(*events), now_s) == expected
