"""A provider that is back from an outage: what made it go out keeps no new conversation away from it."""

import pytest
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.health_stream import Probed
from limpet_extproc.decision.slowness import Timing
from limpet_extproc.providers.events import AttemptFailed, AttemptSucceeded, ProviderEvent, TrialBegan
from limpet_extproc.providers.tracker import ProviderTracker

NOW = 1_760_000_000.0
FAILED: ProviderEvent = AttemptFailed("a", "m", "ServerError")
ANSWERED: ProviderEvent = AttemptSucceeded("a", "m", Timing(0.2, 500))
OF_B: ProviderEvent = AttemptSucceeded("b", "m", Timing(0.2, 500))


class Outage:
    """A tracker in which `a` has gone out after many failures, while `b` served all the while."""

    def __init__(self) -> None:
        self.clock = HandClock(NOW)
        self.tracker = ProviderTracker(self.clock, lambda _: None)
        self.happen(*[FAILED, OF_B] * 20)
        assert (self.trouble, self.factor) == ("down", 2.0)

    def happen(self, *events: ProviderEvent) -> None:
        for event in events:
            self.tracker.apply(event)
            self.clock.now_s += 1.0

    @property
    def trouble(self) -> str | None:
        return self.tracker.states.judge("a", "m", self.clock.now_s).trouble

    @property
    def factor(self) -> float:
        return self.tracker.states.factors.get("a", 1.0)


@pytest.fixture
def outage() -> Outage:
    return Outage()


def test_an_answer_that_brings_it_back_ends_its_factor_at_once(outage: Outage) -> None:
    outage.clock.now_s += 60
    outage.tracker.apply(ANSWERED)
    assert (outage.trouble, outage.factor) == (None, 1.0)
    assert outage.tracker.states.learned["a"].samples == 1


def test_so_does_an_answer_that_another_gateway_saw(outage: Outage) -> None:
    outage.clock.now_s += 60
    outage.tracker.apply_relayed(ANSWERED)
    assert (outage.trouble, outage.factor) == (None, 1.0)


def test_so_does_a_good_probe(outage: Outage) -> None:
    outage.clock.now_s += 60
    outage.tracker.take_probed([Probed("a", "Up", "", outage.clock.now_s, "m", good_age_s=0.5)], 30.0)
    assert (outage.trouble, outage.factor) == (None, 1.0)


def test_a_good_probe_before_the_pause_is_over_forgives_nothing(outage: Outage) -> None:
    outage.happen(TrialBegan("a", "m"), FAILED)
    outage.tracker.take_probed([Probed("a", "Up", "", outage.clock.now_s, "m", good_age_s=0.5)], 30.0)
    assert (outage.trouble, outage.factor) == ("down", 2.0)


def test_an_answer_of_one_that_never_was_out_forgives_nothing() -> None:
    tracker = ProviderTracker(HandClock(NOW), lambda _: None)
    for _ in range(10):
        tracker.apply(ANSWERED)
        tracker.apply(AttemptFailed("a", "m", "ServerError", conversation="always the same"))
    assert tracker.states.learned["a"].samples > 10


def test_after_its_return_it_gets_a_new_factor_as_any_other_would(outage: Outage) -> None:
    outage.clock.now_s += 60
    outage.happen(ANSWERED, *[FAILED, ANSWERED] * 5)
    assert outage.factor > 1.0


def test_a_factor_fades_while_nothing_is_asked_of_it(outage: Outage) -> None:
    seen = []
    for _ in range(300):
        outage.clock.now_s += 1.0
        outage.tracker.sweep()
        seen.append(outage.factor)
    assert list(dict.fromkeys(seen)) == [2.0, 1.75, 1.5, 1.25, 1.0]
    assert outage.tracker.states.factors == {}
