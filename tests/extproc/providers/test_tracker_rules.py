"""Rules that hold after any history of any providers: each model is judged for itself, nothing is out for ever."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.attempt import PERHAPS_OF_THE_REQUEST, Cause
from limpet_extproc.contract.health_stream import VERDICTS, Probed
from limpet_extproc.decision.error_rate import DEFAULT_RATE
from limpet_extproc.decision.health import DEFAULT_THRESHOLDS, TROUBLES
from limpet_extproc.decision.slowness import Timing
from limpet_extproc.providers.events import (
    AttemptFailed,
    AttemptLimited,
    AttemptSucceeded,
    ProviderDegraded,
    ProviderEvent,
    RequestRefused,
    TrialBegan,
    TrialEnded,
)
from limpet_extproc.providers.health_states import HealthChange
from limpet_extproc.providers.tracker import ProviderTracker

PROVIDERS, MODELS = st.sampled_from("ab"), st.sampled_from(["m1", "m2"])
AGES = st.sampled_from([0.0, 1.0, 30.0])
WHOSE = st.sampled_from(["", "one", "two"])
TIMINGS = st.none() | st.builds(Timing, st.sampled_from([0.2, 9.0]), st.just(500))


def events(providers: st.SearchStrategy[str], models: st.SearchStrategy[str]) -> st.SearchStrategy[ProviderEvent]:
    return st.one_of(
        st.builds(AttemptSucceeded, providers, models, TIMINGS, AGES),
        st.builds(AttemptFailed, providers, models, st.sampled_from(["ServerError", "ConnectionFailed"]), AGES, WHOSE),
        st.builds(AttemptLimited, providers, models, st.none() | st.floats(1, 999), st.just("Overloaded"), AGES),
        st.builds(RequestRefused, providers, models, AGES),
        st.builds(TrialBegan, providers, models),
        st.builds(TrialEnded, providers, models),
        st.builds(ProviderDegraded, providers, models, st.just("ErrorRate")),
    )


PAUSES = st.sampled_from([0.0, 0.5, 4.0, 11.0, 70.0])
STORIES = st.lists(st.tuples(PAUSES, events(PROVIDERS, MODELS)), max_size=60)
Story = list[tuple[float, ProviderEvent]]


def told(story: Story, begin_s: float = 1_000.0) -> tuple[ProviderTracker, HandClock]:
    clock = HandClock(begin_s)
    tracker = ProviderTracker(clock, lambda _change: None)
    for pause_s, event in story:
        clock.now_s += pause_s
        tracker.apply(event)
    return tracker, clock


@given(STORIES, st.lists(st.tuples(PAUSES, events(st.just("a"), st.just("m1"))), max_size=30))
def test_what_concerns_one_model_touches_no_other(before: Story, more: Story) -> None:
    of_the_model = [
        (pause_s, event)
        for pause_s, event in more
        if not (isinstance(event, AttemptFailed) and event.cause == "ConnectionFailed")
    ]
    tracker, clock = told(before)
    # An answer shows that the provider as a whole is there, so only what is held against it alone may end.
    for pause_s, event in of_the_model:
        known = tracker.states.by_model.get(("a", "m2")), tracker.states.by_model.get(("b", "m1"))
        whole = tracker.states.health.get("b")
        clock.now_s += pause_s
        tracker.apply(event)
        assert (tracker.states.by_model.get(("a", "m2")), tracker.states.by_model.get(("b", "m1"))) == known
        assert tracker.states.health.get("b") == whole


SHORT = st.lists(events(st.just("a"), st.just("m1")), max_size=15)
OTHERS = st.lists(events(st.just("b"), st.just("m1")), max_size=15)


@given(SHORT, OTHERS, st.randoms(use_true_random=False))
def test_how_the_events_of_two_providers_interleave_does_not_matter(
    one: list[ProviderEvent], other: list[ProviderEvent], random: Random
) -> None:
    left, right, mixed = list(one), list(other), list[ProviderEvent]()
    while left or right:
        mixed.append((left if left and (not right or random.random() < 0.5) else right).pop(0))
    in_turn, _ = told([(0.0, event) for event in (*one, *other)])
    mingled, _ = told([(0.0, event) for event in mixed])
    assert in_turn.states.health == mingled.states.health
    assert in_turn.states.by_model == mingled.states.by_model


@given(STORIES)
def test_nothing_stays_out_for_ever(story: Story) -> None:
    tracker, clock = told(story)
    thresholds = DEFAULT_THRESHOLDS
    clock.now_s += max(thresholds.max_retry_after_s, thresholds.max_degraded_pause_s, thresholds.trial_timeout_s)
    for provider in "ab":
        for model in ("m1", "m2"):
            judged = tracker.states.judge(provider, model, clock.now_s)
            assert judged.trouble is None or judged.trial
            for _ in range(2 * thresholds.good_trials):
                tracker.apply(TrialBegan(provider, model))
                tracker.apply(AttemptSucceeded(provider, model))
                clock.now_s += DEFAULT_RATE.window_s
            assert tracker.states.judge(provider, model, clock.now_s).trouble is None
    clock.now_s += thresholds.well_s
    tracker.sweep()
    assert tracker.states.all_well


REQUESTS = st.lists(
    st.tuples(st.floats(0, 10), st.sampled_from(["ok", "poison"]), st.sampled_from(sorted(PERHAPS_OF_THE_REQUEST))),
    max_size=80,
)


@given(REQUESTS)
def test_the_requests_of_one_conversation_never_take_a_provider_out(
    story: list[tuple[float, str, Cause]],
) -> None:
    clock, changes = HandClock(1_000.0), list[HealthChange]()
    tracker = ProviderTracker(clock, changes.append)
    for pause_s, what, cause in story:
        clock.now_s += pause_s
        if what == "ok":
            tracker.apply(AttemptSucceeded("a", "m1"))
        else:
            tracker.apply(AttemptFailed("a", "m1", cause, 0.0, "poison"))
    assert changes == []


@given(STORIES, st.sampled_from(sorted(PERHAPS_OF_THE_REQUEST)), st.integers(1, 5))
def test_three_conversations_that_fail_in_a_row_always_do(before: Story, cause: Cause, each: int) -> None:
    failures = [AttemptFailed("a", "m1", cause, 0.0, key) for key in "xyz" for _ in range(each)]
    tracker, clock = told([*before, *((0.0, failure) for failure in failures)])
    assert tracker.states.judge("a", "m1", clock.now_s).trouble is not None


@given(STORIES, st.sampled_from([86_400.0, 1_790_000_000.0]))
def test_nothing_depends_on_what_time_it_is(story: Story, later_s: float) -> None:
    (one, clock), (other, later) = told(story), told(story, 1_000.0 + later_s)
    for provider in "ab":
        for model in ("m1", "m2"):
            here, there = (
                one.states.judge(provider, model, clock.now_s),
                other.states.judge(provider, model, later.now_s),
            )
            assert (here.trouble, here.trial, here.cause) == (there.trouble, there.trial, there.cause)
            assert (
                here.until_s - clock.now_s == pytest.approx(there.until_s - later.now_s, abs=1e-3) or not here.trouble
            )


@given(
    STORIES,
    st.lists(
        st.builds(Probed, PROVIDERS, st.sampled_from(VERDICTS), model=st.sampled_from(["", "m1", "m2"])), max_size=6
    ),
)
def test_probes_only_ever_make_it_worse_and_leave_no_trace_of_trouble(story: Story, probed: list[Probed]) -> None:
    tracker, clock = told(story)
    names = [(provider, model) for provider in "ab" for model in ("m1", "m2")]
    before = {name: tracker.states.judge(*name, clock.now_s) for name in names}
    tracker.take_probed(probed, 30.0)
    for name in names:
        assert TROUBLES.index(tracker.states.judge(*name, clock.now_s).trouble) >= TROUBLES.index(before[name].trouble)
    tracker.take_probed([], 30.0)
    for name in names:
        assert tracker.states.judge(*name, clock.now_s) == before[name]


@given(st.lists(st.sampled_from(["ok", "bad"]), min_size=200, max_size=1_200), st.sampled_from([0.2, 0.5, 2.0]))
def test_it_goes_in_and_out_a_bounded_number_of_times(outcomes: list[str], every_s: float) -> None:
    """Whatever the outcomes: one request at a time, sent only while it is up or to try it."""
    clock, changes = HandClock(1_000.0), list[str | None]()
    tracker = ProviderTracker(clock, lambda change: changes.append(change.now.trouble))
    begin_s = clock.now_s
    for outcome in outcomes:
        clock.now_s += every_s
        judged = tracker.states.judge("a", "m1", clock.now_s)
        if judged.trouble is not None and not judged.trial:
            continue
        if judged.trial:
            tracker.apply(TrialBegan("a", "m1"))
        tracker.apply(AttemptSucceeded("a", "m1") if outcome == "ok" else AttemptFailed("a", "m1", "ServerError"))
    passed_s = clock.now_s - begin_s
    outs = sum(trouble is not None for trouble in changes)
    # Pauses of 5, 10, 20 and 40 s, and of 60 s from then on; and an error rate needs ten attempts to be one.
    assert outs <= 6 + passed_s / 30
