"""What is held against a provider, what against one of its models only, and what other workers hear of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.contract.catalog import CatalogProvider, Model
from limpet_extproc.contract.health_stream import Probed
from limpet_extproc.decision.slowness import Timing
from limpet_extproc.providers.events import (
    AnswerGenerated,
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

NOW = 1_760_000_000.0


class Observed:
    """Providers, their changes as reported, and what other gateways hear."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, str | None]] = []
        self.relayed: list[ProviderEvent] = []
        self.clock = HandClock(NOW)
        self.providers = ProviderTracker(self.clock, self._changed, to_gateways=self.relayed.append)

    def _changed(self, change: HealthChange) -> None:
        self.changes.append((change.provider, change.model, change.now.trouble))

    def happen(self, *events: ProviderEvent, every_s: float = 0.0) -> None:
        for event in events:
            self.providers.apply(event)
            self.clock.now_s += every_s

    def trouble(self, model: str = "m1") -> str | None:
        return self.providers.states.judge("a", model, self.clock.now_s).trouble


@pytest.fixture
def observed() -> Observed:
    return Observed()


def failed(model: str = "", cause: Cause = "ServerError") -> ProviderEvent:
    return AttemptFailed("a", model, cause)


def answered(model: str = "m1", first_byte_s: float | None = None) -> ProviderEvent:
    return AttemptSucceeded("a", model, Timing(first_byte_s, 500, 0.1, 1024) if first_byte_s is not None else None)


def test_one_models_failures_leave_the_others_in(observed: Observed) -> None:
    observed.happen(*[failed("m1")] * 3)
    assert (observed.trouble("m1"), observed.trouble("m2")) == ("down", None)
    assert observed.changes == [("a", "m1", "down")]


@pytest.mark.parametrize(
    "cause", ["CredentialRefused", "NoCredit", "Forbidden", "ConnectionFailed", "TLSFailed", "NameNotResolved"]
)
def test_address_key_and_account_concern_all_models(observed: Observed, cause: Cause) -> None:
    for model in ("m1", "m2", "m3"):
        observed.happen(failed(model, cause))
    assert (observed.trouble("m1"), observed.trouble("m9")) == ("down", "down")
    assert observed.changes == [("a", "", "down")]
    observed.happen(answered("m1"))
    assert observed.trouble("m9") is None, "any answer lets all models in"


def test_failures_of_several_models_do_not_add_up(observed: Observed) -> None:
    observed.happen(*(failed(model) for model in ("m1", "m2", "m3", "m4")))
    assert observed.changes == []


def test_an_answer_of_another_model_does_not_let_a_model_back_in(observed: Observed) -> None:
    observed.happen(AttemptLimited("a", "m1", 60.0), answered("m2"))
    assert observed.trouble("m1") == "over_limit"
    observed.happen(answered("m1"))
    assert observed.trouble("m1") is None
    assert observed.changes == [("a", "m1", "over_limit"), ("a", "m1", None)]


def test_a_trial_of_one_model_is_no_trial_of_another(observed: Observed) -> None:
    observed.happen(*(AttemptLimited("a", model, 1.0) for model in ("m1", "m2")))
    observed.clock.now_s += 2
    observed.happen(TrialBegan("a", "m1"))
    judge = observed.providers.states.judge
    assert not judge("a", "m1", observed.clock.now_s).trial
    assert judge("a", "m2", observed.clock.now_s).trial


@pytest.mark.parametrize(
    ("cause", "event", "ended"),
    [
        ("ConnectionFailed", RequestRefused("a", "m2"), True),
        ("ConnectionRefused", failed("m2"), True),
        ("TLSFailed", failed("m2", "ModelNotFound"), True),
        ("NameNotResolved", AttemptLimited("a", "m2"), True),
        ("ConnectionFailed", AttemptLimited("a", "m2", 30.0, "Overloaded"), True),
        ("CredentialRefused", RequestRefused("a", "m2"), True),
        ("CredentialRefused", failed("m2"), False),
        ("NoCredit", AttemptLimited("a", "m2"), False),
        ("ConnectionFailed", failed("m2", "Timeout"), False),
        ("ConnectionFailed", failed("m2", "CredentialRefused"), False),
        ("ConnectionFailed", TrialEnded("a", "m2"), False),
    ],
)
def test_any_answer_shows_that_a_provider_is_there_and_a_refusal_that_it_takes_the_key(
    observed: Observed, cause: Cause, event: ProviderEvent, ended: bool
) -> None:
    observed.happen(*[failed("m1", cause)] * 3)
    observed.clock.now_s += 5
    observed.happen(TrialBegan("a", "m2"), event)
    assert (observed.trouble("m1") is None) == ended


@pytest.mark.parametrize("event", [RequestRefused("a", "m1"), TrialEnded("a", "m1")])
@pytest.mark.parametrize(
    "out", [AttemptLimited("a", "m1", 5.0), ProviderDegraded("a", "m1", "ErrorRate"), failed("m1")]
)
def test_a_trial_that_shows_nothing_of_the_model_leaves_the_next_request_to_try_it(
    observed: Observed, out: ProviderEvent, event: ProviderEvent
) -> None:
    observed.happen(*[out] * 3)
    observed.clock.now_s += 60
    observed.happen(TrialBegan("a", "m1"))
    before = observed.trouble()
    observed.happen(event)
    judged = observed.providers.states.judge("a", "m1", observed.clock.now_s)
    assert (judged.trouble, judged.trial) == (before, True)


def test_other_gateways_hear_that_a_trial_has_ended(observed: Observed) -> None:
    observed.happen(AttemptLimited("a", "m1", 5.0), TrialBegan("a", "m1"), TrialEnded("a", "m1"), TrialEnded("a", "m1"))
    assert observed.relayed[2:] == [TrialEnded("a", "m1")]


def test_a_provider_that_fails_now_and_then_is_degraded(observed: Observed) -> None:
    observed.happen(*[answered(), failed("m1")] * 5)
    assert observed.trouble() == "degraded"
    assert observed.providers.states.judge("a", "m1", NOW).cause == "ErrorRate"


def test_answers_that_broke_off_count_like_failures(observed: Observed) -> None:
    observed.happen(*[answered(), failed("m1", "BrokenOff")] * 5)
    assert observed.trouble() == "degraded"


def test_a_provider_that_becomes_far_slower_than_it_was_is_degraded_within_ten_answers(observed: Observed) -> None:
    observed.happen(*[answered(first_byte_s=0.2)] * 30, every_s=1.0)
    observed.happen(*[answered(first_byte_s=4.0)] * 10)
    assert observed.trouble() == "degraded"
    assert observed.trouble("m2") is None


def test_a_degraded_one_returns_after_several_good_trials(observed: Observed) -> None:
    observed.happen(*[answered(), failed("m1")] * 5)
    observed.clock.now_s += 10
    for expected in ("degraded", "degraded", None):
        assert observed.providers.states.judge("a", "m1", observed.clock.now_s).trial
        observed.happen(TrialBegan("a", "m1"), answered())
        assert observed.trouble() == expected
    assert observed.providers.states.share("a", "m1", observed.clock.now_s) < 1
    observed.clock.now_s += 30
    assert observed.providers.states.share("a", "m1", observed.clock.now_s) == 1


@pytest.mark.parametrize(
    ("event", "of_all_models"),
    [
        (failed("m1"), False),
        (failed("m1", "ConnectionFailed"), True),
        (AttemptLimited("a", "m1"), False),
    ],
)
def test_a_single_failure_is_remembered_for_a_minute(
    observed: Observed, event: ProviderEvent, of_all_models: bool
) -> None:
    def well(model: str) -> bool:
        return observed.providers.states.has_been_well("a", model, observed.clock.now_s)

    assert well("m1")
    observed.happen(event, answered("m1"))
    assert (well("m1"), well("m2")) == (False, not of_all_models)
    observed.clock.now_s += 60
    assert well("m1")
    assert well("m2")


def test_a_sweep_leaves_nothing_of_a_return_that_is_long_ago(observed: Observed) -> None:
    observed.happen(*[failed("m1")] * 3, answered())
    observed.clock.now_s += 59
    observed.providers.sweep()
    assert not observed.providers.states.all_well
    observed.clock.now_s += 1
    observed.providers.sweep()
    assert observed.providers.states.all_well


@pytest.mark.parametrize(
    ("events", "passed_s", "trouble"),
    [
        ([AttemptLimited("a", "m1", 3.0)], 7, "over_limit"),
        ([AttemptLimited("a", "m1", 3.0)], 8, None),
        ([AttemptLimited("a", "m1", 3.0), AttemptLimited("a", "m1", 9.0)], 13, "over_limit"),
        ([AttemptLimited("a", "m1", 3.0), AttemptLimited("a", "m1", 9.0)], 14, None),
        ([AttemptLimited("a", "m1", 3.0), TrialBegan("a", "m1")], 8, "over_limit"),
        ([AttemptLimited("a", "m1", 900.0)], 400, "over_limit"),  # asked for more than it was given
        ([AttemptLimited("a", "m1")] * 3, 90, "over_limit"),  # named no time
        ([*[failed("m1")] * 3, AttemptLimited("a", "m1", 30.0)], 90, "down"),
    ],
)
def test_a_limit_is_over_soon_after_the_time_that_the_provider_named(
    observed: Observed, events: list[ProviderEvent], passed_s: float, trouble: str | None
) -> None:
    observed.happen(*events)
    observed.clock.now_s += passed_s
    observed.providers.sweep()
    assert observed.trouble() == trouble
    if trouble is None:
        assert observed.providers.states.share("a", "m1", observed.clock.now_s) < 1, "it returns by and by"
        assert observed.changes[-1] == ("a", "m1", None)


def probed(verdict: str, model: str = "") -> Probed:
    return Probed("a", verdict, "Timeout" if verdict != "Up" else "", NOW - 5, model)  # type: ignore[arg-type]


def test_the_worse_of_probe_and_traffic_counts(observed: Observed) -> None:
    observed.happen(AttemptLimited("a", "m1", 30.0))
    observed.providers.take_probed([probed("Degraded")], 10.0)
    assert (observed.trouble("m1"), observed.trouble("m2")) == ("over_limit", "degraded")
    observed.providers.take_probed([probed("Down")], 10.0)
    observed.happen(answered("m2"))
    assert (observed.trouble("m1"), observed.trouble("m2")) == ("down", "down")
    observed.providers.take_probed([probed("Up"), probed("Down", "m2")], 10.0)
    assert (observed.trouble("m1"), observed.trouble("m2")) == ("over_limit", "down")


def test_only_probes_bring_back_what_probes_took_out_and_it_returns_by_and_by(observed: Observed) -> None:
    observed.providers.take_probed([probed("Down")], 10.0)
    observed.clock.now_s += 9
    assert not observed.providers.states.judge("a", "m1", observed.clock.now_s).trial
    observed.providers.take_probed([probed("Up")], 10.0)
    assert observed.trouble() is None
    assert observed.providers.states.share("a", "m1", observed.clock.now_s) < 1
    assert observed.changes == [("a", "", "down"), ("a", "", None)]


def good(model: str = "", age_s: float = 0.5, since_s: float = NOW - 3600) -> list[Probed]:
    return [Probed("a", "Up", since_s=since_s, model=model, good_age_s=age_s)]


@pytest.mark.parametrize(
    ("events", "probes", "pause_s", "trouble"),
    [
        ([failed(cause="ConnectionFailed")] * 3, good(), 6, None),
        ([failed(cause="ConnectionFailed")] * 3, good("m1"), 6, None),
        ([failed(cause="ConnectionFailed")] * 3, good("m2"), 6, None),
        ([failed(cause="ConnectionFailed")] * 3, good(), 4, "down"),  # in its pause
        ([failed(cause="ConnectionFailed")] * 3, good(age_s=7), 6, "down"),  # sent before that
        ([failed("m1")] * 3, good("m1"), 6, None),
        ([failed("m1")] * 3, good(), 6, "down"),  # a list of models says nothing of answers
        ([failed("m1")] * 3, good("m2"), 6, "down"),
        ([AttemptLimited("a", "m1", 3.0)], good("m1"), 4, None),
        ([failed(cause="CredentialRefused")] * 3, good(), 6, "down"),  # never refused the probe
        ([failed(cause="CredentialRefused")] * 3, good(since_s=NOW + 1), 6, None),
        ([failed(cause="CredentialRefused")] * 3, good("m1"), 6, None),
        ([ProviderDegraded("a", "m1", "ErrorRate")], good("m1"), 11, "degraded"),  # takes three
        ([ProviderDegraded("a", "m1", "ErrorRate")], good(), 11, "degraded"),
    ],
)
def test_a_good_probe_is_a_trial_that_went_well(
    observed: Observed, events: list[ProviderEvent], probes: list[Probed], pause_s: float, trouble: str | None
) -> None:
    observed.happen(*events)
    observed.clock.now_s += pause_s
    observed.providers.take_probed(probes, 30.0)
    assert observed.trouble() == trouble
    assert observed.relayed == events, "other gateways hear of probes themselves"
    if trouble is None:
        assert observed.providers.states.share("a", "m1", observed.clock.now_s) < 1


def test_three_good_completions_in_a_row_end_degraded_and_one_that_is_told_thrice_does_not(observed: Observed) -> None:
    observed.happen(ProviderDegraded("a", "m1", "SlowFirstByte"))
    observed.clock.now_s += 11
    for age_s in (0.0, 0.1, 0.2):
        observed.providers.take_probed(good("m1", age_s), 30.0)
        observed.clock.now_s += 0.1
    assert observed.trouble() == "degraded"
    for _ in range(2):
        observed.clock.now_s += 10
        observed.providers.take_probed(good("m1"), 30.0)
    assert observed.trouble() is None


def test_verdicts_of_probes_that_nobody_repeats_lapse(observed: Observed) -> None:
    observed.providers.take_probed([probed("Down")], 10.0)
    observed.clock.now_s += 10
    observed.providers.sweep()
    assert observed.trouble() is None


def test_other_gateways_hear_of_failures_and_of_answers_that_change_a_state(observed: Observed) -> None:
    unchanged = [answered(), AnswerGenerated("a", 20, 1.0), answered()]
    told = [failed("m1"), answered(), AttemptLimited("a", "m1", 5.0), TrialBegan("a", "m1")]
    observed.happen(*unchanged, *told)
    assert observed.relayed == told


def test_what_another_gateway_saw_counts_here_in_a_row_but_in_no_share(observed: Observed) -> None:
    for event in [failed("m1"), failed("m1"), answered()] * 10:
        observed.providers.apply_relayed(event)
    assert observed.trouble() is None
    for _ in range(3):
        observed.providers.apply_relayed(failed("m1"))
    assert observed.trouble() == "down"
    assert observed.relayed == [], "nothing is passed on twice"


def test_what_another_gateway_found_degraded_is_degraded_here(observed: Observed) -> None:
    observed.happen(*[answered(), failed("m1")] * 5)
    assert ProviderDegraded("a", "m1", "ErrorRate") in observed.relayed
    other = Observed()
    other.providers.apply_relayed(ProviderDegraded("a", "m1", "ErrorRate"))
    assert other.trouble() == "degraded"
    assert other.relayed == []


def test_what_left_the_catalog_is_forgotten_and_all_else_is_kept(observed: Observed) -> None:
    for provider, model in (("a", "m1"), ("a", "m2"), ("b", "m1")):
        observed.happen(*[AttemptSucceeded(provider, model, Timing(0.2, 500))] * 20)
        observed.happen(*[AttemptFailed(provider, model, "ServerError")] * 3)
    known = observed.providers
    a = CatalogProvider("a", (Model("m1", "m1", 0),))
    known.keep({"a": a})
    assert list(known.states.by_model) == [("a", "m1")]
    assert list(known.states.failed_s) == [("a", "m1")]
    assert set(known.last_answer_s) == {("a", ""), ("a", "m1")}
    assert set(known.last_asked_s) == {("a", "m1")}
    assert set(known.states.learned) == {"a"}
    assert set(known.states.factors) <= {"a"}
    assert observed.changes[-2:] == [("a", "m2", None), ("b", "m1", None)]
    observed.happen(*[AttemptFailed("a", "m1", "ConnectionFailed")] * 3)
    known.keep({})
    assert not known.states.health
    assert known.states.all_well


_EVENTS = st.one_of(
    st.builds(
        AttemptSucceeded,
        st.just("a"),
        st.sampled_from(["", "m1", "m2"]),
        st.none() | st.builds(Timing, st.floats(0.1, 9.0), st.integers(0, 9_000)),
    ),
    st.builds(AttemptFailed, st.just("a"), st.sampled_from(["m1", "m2"]), st.just("ServerError")),
    st.builds(AttemptLimited, st.just("a"), st.just("m1"), st.floats(1.0, 9.0)),
)


@given(st.lists(st.tuples(_EVENTS, st.booleans(), st.floats(0.0, 30.0)), max_size=40))
def test_both_events_of_an_answer_may_be_applied_at_once(story: list[tuple[ProviderEvent, bool, float]]) -> None:
    once, one_by_one = Observed(), Observed()
    for event, generated, later_s in story:
        if isinstance(event, AttemptSucceeded):
            more = AnswerGenerated("a", 100, 2.0, event.model, 6_000, 5_000) if generated else None
            once.providers.answered(event, more)
            one_by_one.happen(event, *([] if more is None else [more]))
        else:
            once.happen(event)
            one_by_one.happen(event)
        for each in (once, one_by_one):
            each.clock.now_s += later_s
    assert once.changes == one_by_one.changes
    assert once.relayed == one_by_one.relayed
    assert once.providers.states == one_by_one.providers.states
