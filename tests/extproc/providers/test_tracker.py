"""What is held against a provider, and what against one of its models only."""

import pytest

from limpet_extproc.decision.health import HealthState
from limpet_extproc.providers.events import AttemptFailed, AttemptLimited, AttemptSucceeded, TrialBegan
from limpet_extproc.providers.tracker import ProviderTracker

NOW = 1_760_000_000.0


class Observed:
    """Providers, and their changes as reported."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str | None]] = []
        self.providers = ProviderTracker(self._changed)

    def _changed(self, provider: str, state: HealthState) -> None:
        self.changes.append((provider, state.trouble))

    def out(self, model: str) -> bool:
        state = self.providers.states.state("a", model)
        return state is not None and state.trouble is not None


@pytest.fixture
def observed() -> Observed:
    return Observed()


def test_one_models_failures_leave_the_others_in(observed: Observed) -> None:
    for _ in range(3):
        observed.providers.apply(AttemptFailed("a", NOW, "m1"))
    assert (observed.out("m1"), observed.out("m2")) == (True, False)
    assert observed.changes == [("a", "down")]


def test_an_answer_of_another_model_does_not_let_a_model_back_in(observed: Observed) -> None:
    observed.providers.apply(AttemptLimited("a", NOW, 60.0, "m1"))
    observed.providers.apply(AttemptSucceeded("a", NOW, None, "m2"))
    assert observed.out("m1")
    assert observed.changes == [("a", "over_limit")]
    observed.providers.apply(AttemptSucceeded("a", NOW, None, "m1"))
    assert not observed.out("m1")
    assert observed.changes[-1] == ("a", None)
    assert observed.providers.health == {}


def test_what_concerns_the_provider_takes_all_its_models_out_and_any_answer_lets_them_in(observed: Observed) -> None:
    for _ in range(3):
        observed.providers.apply(AttemptFailed("a", NOW))
    assert observed.out("m1")
    assert observed.out("m2")
    observed.providers.apply(AttemptSucceeded("a", NOW, None, "m1"))
    assert not observed.out("m2")


def test_failures_of_several_models_do_not_add_up(observed: Observed) -> None:
    for model in ("m1", "m2", "m3", "m4"):
        observed.providers.apply(AttemptFailed("a", NOW, model))
    assert observed.changes == []


def test_a_trial_of_one_model_is_no_trial_of_another(observed: Observed) -> None:
    for model in ("m1", "m2"):
        observed.providers.apply(AttemptLimited("a", NOW, 1.0, model))
    observed.providers.apply(TrialBegan("a", NOW + 2, "m1"))
    tried, other = (observed.providers.states.state("a", model) for model in ("m1", "m2"))
    assert tried is not None
    assert other is not None
    assert tried.trial_until_s > NOW + 2
    assert other.trial_until_s == 0.0


def test_a_provider_is_reported_only_when_it_goes_out_or_comes_back(observed: Observed) -> None:
    for _ in range(5):
        observed.providers.apply(AttemptFailed("a", NOW))
    observed.providers.apply(AttemptLimited("b", NOW, 30.0))
    for _ in range(2):
        observed.providers.apply(AttemptSucceeded("a", NOW, 0.2))
    assert observed.changes == [("a", "down"), ("b", "over_limit"), ("a", None)]
    assert set(observed.providers.states.health) == {"b"}
