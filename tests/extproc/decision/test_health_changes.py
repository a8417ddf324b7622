"""The health of a provider after its traffic: a table of stories, and rules that hold after any of them."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.decision.health import DEFAULT_THRESHOLDS, HEALTHY, HealthState, badness, judge
from limpet_extproc.decision.health_changes import (
    after_failure,
    after_limit,
    after_success,
    begin_trial,
    degraded,
    settled,
)

What = Literal["ok", "slow", "fail", "limit", "busy", "trial", "degraded", "settle"]
Event = tuple[float, What] | tuple[float, What, float]
"""When, what; and for `limit` the seconds it asks for, for others how long ago the request was decided."""

T = DEFAULT_THRESHOLDS


def one_more(state: HealthState, now_s: float, what: What, more: float = 0.0) -> HealthState:
    if what == "ok":
        return after_success(state, now_s, more)
    if what == "slow":
        return after_success(state, now_s, more, slow=True)
    if what == "fail":
        return after_failure(state, now_s, "ServerError", more)
    if what == "limit":
        return after_limit(state, now_s, more)
    if what == "busy":
        return after_limit(state, now_s, None, "Overloaded", more)
    if what == "degraded":
        return degraded(state, now_s, "ErrorRate")
    return begin_trial(state, now_s) if what == "trial" else settled(state, now_s)


def after(*events: Event, state: HealthState = HEALTHY) -> HealthState:
    for event in events:
        state = one_more(state, *event)
    return state


def verdict(state: HealthState, now_s: float) -> str:
    judged = judge([state], now_s)
    return ("trial of " if judged.trial else "") + (judged.trouble or "up")


def fails(*times_s: float) -> list[Event]:
    return [(now_s, "fail") for now_s in times_s]


DOWN: list[Event] = fails(0, 0, 0)
"""Three failures in a row: out until second 5."""
BUSY: list[Event] = [(0, "busy"), (0, "busy"), (0, "busy")]
SLOW: list[Event] = [(0, "degraded")]


@pytest.mark.parametrize(
    ("events", "now_s", "expected"),
    [
        ([], 0, "up"),
        (fails(0, 1), 1, "up"),
        (DOWN, 0, "down"),
        (DOWN, 4.9, "down"),
        (DOWN, 5, "trial of down"),
        ([*fails(0, 0), (1, "ok"), *fails(2, 2)], 2, "up"),
        # one trial at a time, whose outcome decides
        ([*DOWN, (4.99, "trial")], 5, "down"),  # begun by a worker that heard of the failures a moment earlier
        ([*DOWN, (5, "trial")], 5, "down"),
        ([*DOWN, (5, "trial")], 64, "down"),
        ([*DOWN, (5, "trial")], 65, "trial of down"),
        ([*DOWN, (5, "trial"), (6, "ok", 1)], 6, "up"),
        ([*DOWN, (5, "trial"), (6, "fail")], 15.9, "down"),
        ([*DOWN, (5, "trial"), (6, "fail")], 16, "trial of down"),
        # what was under way when it went out neither prolongs nor shortens
        ([*DOWN, *fails(1, 2, 3, 4)], 5, "trial of down"),
        ([*DOWN, (5, "trial"), (6, "fail", 7)], 6, "down"),
        ([*DOWN, (5, "trial"), (6, "fail", 7)], 65, "trial of down"),
        ([*DOWN, (1, "ok", 2)], 1, "down"),
        ([*DOWN, (1, "ok", 0.5)], 1, "up"),  # a last resort that worked
        ([(0, "limit", 100), (1, "fail")], 99, "over_limit"),
        # a limit with the provider's own time
        ([(0, "limit", 30)], 29, "over_limit"),
        ([(0, "limit", 30)], 30, "trial of over_limit"),
        ([(0, "limit", 0.01)], 0.9, "over_limit"),
        ([(0, "limit", 10_000)], 299, "over_limit"),
        ([(0, "limit", 10_000)], 300, "trial of over_limit"),
        ([(0, "limit", 30), (1, "limit", 5)], 29, "over_limit"),
        ([(0, "limit", 30), (1, "limit", 50)], 50, "over_limit"),
        ([(0, "limit", 30), (30, "trial"), (31, "limit", 30)], 60, "over_limit"),
        ([(0, "limit", 30), (30, "trial"), (31, "fail")], 35, "down"),
        ([(0, "limit", 30), (30, "trial"), (31, "ok", 1)], 31, "up"),
        ([*DOWN, (1, "limit", 30)], 30, "down"),
        ([*DOWN, (5, "trial"), (6, "limit", 30)], 6, "over_limit"),
        # limits without one, and overload
        (BUSY[:2], 0, "up"),
        (BUSY, 4.9, "over_limit"),
        (BUSY, 5, "trial of over_limit"),
        ([*BUSY, (5, "trial"), (6, "busy")], 15, "over_limit"),
        ([*BUSY, (5, "trial"), (6, "busy")], 16, "trial of over_limit"),
        ([*BUSY[:2], (1, "ok"), *BUSY[:2]], 1, "up"),
        ([(0, "fail"), (0, "busy"), (0, "fail"), (0, "busy")], 0, "up"),
        # degraded: three good trials in a row
        (SLOW, 9, "degraded"),
        (SLOW, 10, "trial of degraded"),
        ([*SLOW, (10, "trial"), (11, "ok", 1)], 11, "trial of degraded"),
        ([*SLOW, (11, "ok"), (12, "ok")], 12, "trial of degraded"),
        ([*SLOW, (11, "ok"), (12, "ok"), (13, "ok")], 13, "up"),
        ([*SLOW, (11, "ok"), (12, "slow"), (13, "ok"), (33, "ok"), (34, "ok")], 34, "trial of degraded"),
        ([*SLOW, (10, "trial"), (11, "fail", 1)], 30, "degraded"),
        ([*SLOW, (10, "trial"), (11, "fail", 1)], 31, "trial of degraded"),
        ([*SLOW, (1, "ok"), (2, "ok"), (3, "ok")], 3, "degraded"),  # too soon to show anything
        ([*SLOW, *fails(1, 1, 1)], 1, "down"),  # it got requests all the same, and they failed
        ([*SLOW, (1, "limit", 30)], 1, "over_limit"),
        ([*DOWN, (1, "degraded")], 1, "down"),
        # worse trouble has a pause of its own; what is left of the degraded one's holds after it
        ([*SLOW, (1, "limit", 1)], 2, "trial of over_limit"),
        ([*SLOW, *fails(1, 1, 1)], 6, "trial of down"),
        ([*SLOW, (1, "limit", 1), (2, "trial"), (3, "ok", 1)], 9, "degraded"),
        ([*SLOW, (1, "limit", 1), (2, "trial"), (3, "ok", 1)], 10, "trial of degraded"),
        ([*SLOW, (1, "limit", 1), (2, "trial"), (3, "fail", 1), (8, "trial"), (9, "ok", 1)], 9, "degraded"),
        ([*SLOW, (1, "limit", 20), (21, "trial"), (22, "ok", 1)], 22, "up"),
    ],
)
def test_the_story_of_a_provider_decides_what_a_request_may_do(
    events: list[Event], now_s: float, expected: str
) -> None:
    assert verdict(after(*events), now_s) == expected


@pytest.mark.parametrize(
    ("begin", "bad", "lengths"),
    [
        (DOWN, "fail", [5, 10, 20, 40, 60, 60]),
        (BUSY, "busy", [5, 10, 20, 40, 60, 60]),
        (SLOW, "slow", [10, 20, 40, 80, 160, 300]),
        (SLOW, "fail", [10, 20, 40, 80, 160, 300]),
    ],
)
def test_every_failed_trial_doubles_the_pause_up_to_a_limit(begin: list[Event], bad: What, lengths: list[int]) -> None:
    state, found = after(*begin), []
    for _ in lengths:
        found.append(state.until_s - state.began_s)
        now_s = state.until_s
        state = after((now_s, "trial"), (now_s, bad), (now_s, "ok", 9), state=state)
        if begin is SLOW:
            state = after((now_s + 1, "ok"), state=state)  # so that failures in a row do not take it down
    assert found == lengths
    assert state.since_s == 0, "out since it first went out"


def test_pauses_go_on_growing_until_it_has_been_well_for_a_minute() -> None:
    soon = after(*DOWN, (6, "ok"), *fails(20, 20, 20))
    assert soon.until_s - 20 == 10
    later = after(*DOWN, (6, "ok"), *fails(66, 66, 66))
    assert later.until_s - 66 == 5


def test_what_it_asked_is_kept_where_it_is_not_given_all_of_it() -> None:
    assert after((0, "limit", 86_400)).asked_s == 86_400
    assert after((0, "limit", 200)).asked_s == 0


def test_a_return_that_is_long_ago_leaves_nothing_behind() -> None:
    returned = after(*DOWN, (6, "ok"))
    assert settled(returned, 65.9) == returned
    assert settled(returned, 66) == HEALTHY


KINDS: list[What] = ["ok", "slow", "fail", "limit", "busy", "trial", "degraded", "settle"]
STORIES = st.lists(st.tuples(st.floats(0, 20), st.sampled_from(KINDS), st.floats(0, 1000)), max_size=40)


def told(story: list[tuple[float, What, float]], begin_s: float = 0.0) -> tuple[HealthState, float, list[HealthState]]:
    """The state after a story of pauses and events, the time then, and every state on the way."""
    now_s, state, states = begin_s, HEALTHY, [HEALTHY]
    for pause_s, what, more in story:
        now_s += pause_s
        state = one_more(state, now_s, what, more)
        states.append(state)
    return state, now_s, states


@given(STORIES)
def test_whatever_happens_it_is_tried_again_in_bounded_time(story: list[tuple[float, What, float]]) -> None:
    state, now_s, _ = told(story)
    longest_s = max(T.max_pause_s, T.max_degraded_pause_s, T.max_retry_after_s, T.trial_timeout_s)
    judged = judge([state], now_s + longest_s)
    assert judged.trouble is None or judged.trial


@given(STORIES)
def test_whatever_happened_a_few_good_answers_bring_it_back(story: list[tuple[float, What, float]]) -> None:
    state, now_s, _ = told(story)
    for _ in range(1 + T.good_trials):  # one may end worse trouble of a degraded one
        now_s = max(now_s, state.until_s, state.trial_until_s)
        state = after_success(begin_trial(state, now_s), now_s)
    assert state.trouble is None


def all_of_it_s(state: HealthState) -> float:
    """When its pause ends, with the one as degraded that may be left then."""
    return max(state.until_s, state.beneath.until_s if state.beneath else 0.0)


@given(STORIES, st.sampled_from(["fail", "limit", "busy", "degraded"]), st.floats(0, 20))
def test_bad_news_never_lets_it_in_nor_shortens_a_pause(
    story: list[tuple[float, What, float]], what: What, more: float
) -> None:
    before, now_s, _ = told(story)
    after_it = one_more(before, now_s, what, more)
    assert (after_it.trouble is None) <= (before.trouble is None)
    if before.trouble is not None:
        assert all_of_it_s(after_it) >= all_of_it_s(before)
        if now_s < before.until_s:
            assert badness(after_it) >= badness(before)


@given(STORIES, st.sampled_from([1.0, 86_400.0, 1_790_000_000.0]))
def test_nothing_depends_on_what_time_it_is(story: list[tuple[float, What, float]], begin_s: float) -> None:
    whole = [(float(round(pause_s)), what, float(round(more))) for pause_s, what, more in story]
    one, other = told(whole, 1000.0)[2], told(whole, 1000.0 + begin_s)[2]
    assert [verdict(state, 1000.0) if state.trouble is None else state.trouble for state in one] == [
        verdict(state, 1000.0) if state.trouble is None else state.trouble for state in other
    ]
    assert [max(0.0, state.until_s - state.began_s) for state in one] == [
        max(0.0, state.until_s - state.began_s) for state in other
    ]


@given(st.lists(st.tuples(st.floats(0.5, 5), st.sampled_from(["ok", "slow", "fail", "busy", "trial"])), max_size=400))
def test_it_goes_out_a_bounded_number_of_times_however_outcomes_fall(story: list[tuple[float, What]]) -> None:
    """Without a time that the provider itself asks for, and as long as it is never well for a minute."""
    now_s, outs, state = 0.0, 0, HEALTHY
    for pause_s, what in story:
        now_s += pause_s
        new = one_more(state, now_s, what)
        outs += state.trouble is None and new.trouble is not None
        state = new
    calm_s = T.first_pause_s + T.well_s
    growing = 5  # pauses until the longest
    assert outs <= growing + now_s / min(calm_s, T.max_pause_s) + 1
