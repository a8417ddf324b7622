"""Speeds are those of one model at one provider, seen by the tracker's events."""

from collections.abc import Sequence

import pytest
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.catalog import CatalogProvider, Model
from limpet_extproc.decision.slowness import Timing
from limpet_extproc.providers.events import AnswerGenerated, AttemptFailed, AttemptSucceeded, ProviderEvent
from limpet_extproc.providers.tracker import ProviderTracker

NOW = 1_000.0


class Answers:
    """A tracker and its clock."""

    def __init__(self) -> None:
        self.clock = HandClock(NOW)
        self.tracker = ProviderTracker(self.clock, lambda _: None)

    def happen(self, events: Sequence[ProviderEvent]) -> None:
        for event in events:
            self.tracker.apply(event)
            self.clock.now_s += 1.0

    def factor(self, provider: str, model: str) -> float:
        return self.tracker.states.factor(provider, model)


@pytest.fixture
def answers() -> Answers:
    return Answers()


def streamed(provider: str, model: str, wait_s: float) -> AttemptSucceeded:
    return AttemptSucceeded(provider, model, Timing(wait_s, rest_s=1.0))


def test_each_model_has_its_own(answers: Answers) -> None:
    answers.happen([streamed("a", "small", 0.25), AnswerGenerated("a", 100, 1.0, "small")])
    answers.happen([streamed("a", "large", 2.0), AnswerGenerated("a", 100, 4.0, "large")])
    speeds = answers.tracker.states.speeds
    assert (speeds["small"]["a"].first_token_s, speeds["small"]["a"].tokens_per_s) == (0.25, 100.0)
    assert (speeds["large"]["a"].first_token_s, speeds["large"]["a"].tokens_per_s) == (2.0, 25.0)


def test_who_is_slow_at_one_model_is_so_at_that_one_alone(answers: Answers) -> None:
    for _ in range(10):
        answers.happen([streamed("a", "large", 4.0), streamed("a", "small", 0.25), streamed("b", "large", 0.5)])
    answers.tracker.sweep()
    assert (answers.factor("a", "large"), answers.factor("a", "small"), answers.factor("b", "large")) == (1.5, 1.0, 1.0)
    answers.clock.now_s += 300
    answers.tracker.sweep()
    assert answers.factor("a", "large") == 1.0
    assert answers.tracker.states.slow == {}


def test_errors_count_at_all_models_and_multiply(answers: Answers) -> None:
    for _ in range(10):
        answers.happen([streamed("a", "large", 4.0), streamed("b", "large", 0.5)])
        answers.happen([AttemptFailed("a", "small", "ServerError", conversation=str(answers.clock.now_s))])
    assert answers.factor("a", "large") == 1.5 * answers.factor("a", "small")
    assert answers.factor("a", "small") > 1.0


def test_an_answer_whose_model_nobody_read_shows_no_speed(answers: Answers) -> None:
    answers.happen([AttemptSucceeded("a", "", Timing(0.5)), AnswerGenerated("a", 100, 1.0)])
    assert answers.tracker.states.speeds == {}


def test_an_outage_is_forgiven(answers: Answers) -> None:
    for _ in range(10):
        answers.happen([streamed("a", "large", 4.0), streamed("b", "large", 0.5)])
    answers.happen([AttemptFailed("a", "large", "ConnectionFailed")] * 3)
    answers.clock.now_s += 60
    answers.happen([streamed("a", "large", 0.5)])
    assert answers.tracker.states.judge("a", "large", answers.clock.now_s).trouble is None
    assert answers.tracker.states.speeds["large"]["a"].answers <= 1
    assert answers.factor("a", "large") == 1.0


def test_what_left_the_catalog_is_forgotten(answers: Answers) -> None:
    for _ in range(10):
        answers.happen([streamed("a", "large", 4.0), streamed("a", "small", 4.0), streamed("b", "large", 0.5)])
    answers.tracker.keep({"a": CatalogProvider("a", (Model("large", "large"),))})
    answers.tracker.sweep()
    assert {model: set(of_model) for model, of_model in answers.tracker.states.speeds.items()} == {"large": {"a"}}
    assert answers.tracker.states.slow == {}


def test_what_changed_is_told_once(answers: Answers) -> None:
    answers.happen([streamed("a", "large", 4.0), AnswerGenerated("a", 100, 5.0, "large"), streamed("b", "small", 0.5)])
    told = answers.tracker.take_speeds()
    assert {of: (one.first_token_s, one.tokens_per_s) for of, one in told.items() if one} == {
        ("a", "large"): (4.0, 20.0),
        ("b", "small"): (0.5, 0.0),
    }
    assert answers.tracker.take_speeds() == {}
    answers.tracker.keep({"b": CatalogProvider("b", (Model("small", "small"),))})
    assert answers.tracker.take_speeds() == {("a", "large"): None}
