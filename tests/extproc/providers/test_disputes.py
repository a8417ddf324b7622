"""Two gateways, one of which has a broken way to a provider: neither talks the other out of what it sees itself."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.providers.disputes import DISPUTED_S, MOST_HEARD, Disputes
from limpet_extproc.providers.events import AttemptFailed, AttemptLimited, AttemptSucceeded, ProviderEvent, TrialBegan
from limpet_extproc.providers.tracker import ProviderTracker

EVERY_S = 0.1


class Gateway:
    """One worker, whose way to the provider may be broken, and its requests."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.told: list[ProviderEvent] = []
        self.tracker = ProviderTracker(clock, lambda _: None, to_gateways=self.told.append)
        self.cause: Cause | None = None
        """Why its requests fail."""
        self.away = self.failed = 0
        """Requests that went elsewhere, and those that failed."""

    @property
    def out(self) -> bool:
        return self.tracker.states.judge("a", "m", self.clock.now_s).trouble is not None

    def request(self) -> None:
        judged = self.tracker.states.judge("a", "m", self.clock.now_s)
        if judged.trouble is not None and not judged.trial:
            self.away += 1
            return
        if judged.trial:
            self.tracker.apply(TrialBegan("a", "m"))
        if self.cause is None:
            self.tracker.apply(AttemptSucceeded("a", "m"))
        else:
            self.failed += 1
            self.tracker.apply(AttemptFailed("a", "m", self.cause))


class Fleet:
    """Two gateways that tell each other at once."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = HandClock(1_000.0)
        self.good, self.bad = Gateway(self.clock), Gateway(self.clock)
        self._random = Random(seed)

    def run(self, seconds: float, *, share: float = 1.0, bad_share: float = 1.0) -> None:
        """Traffic: which share of ten requests a second each gateway gets."""
        for turn in range(round(seconds / EVERY_S)):
            gateways = [(self.good, self.bad, share), (self.bad, self.good, bad_share)]
            self._random.shuffle(gateways)
            for one, other, part in gateways:
                if self._random.random() < part:
                    one.request()
                for event in one.told:
                    other.tracker.apply_relayed(event)
                one.told.clear()
            self.clock.now_s += EVERY_S
            if turn % 10 == 0:
                self.good.tracker.sweep()
                self.bad.tracker.sweep()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 999), st.sampled_from(["ConnectionFailed", "ServerError"]), st.floats(0.3, 1), st.floats(0.05, 1))
def test_the_good_gateway_loses_a_few_pauses_and_both_recover(
    seed: int, cause: Cause, share: float, bad_share: float
) -> None:
    fleet = Fleet(seed)
    fleet.run(10, share=share, bad_share=bad_share)
    fleet.bad.cause = cause
    fleet.run(300, share=share, bad_share=bad_share)
    assert fleet.good.away * EVERY_S <= 10 + 20 + 40 + 5, "of five minutes: three pauses of a degraded provider"
    assert fleet.good.failed == 0
    assert not fleet.good.out
    assert fleet.bad.out
    assert fleet.bad.failed <= 30, "it tries again after growing pauses, whatever the other tells"
    fleet.bad.cause = None
    fleet.run(90, share=share, bad_share=bad_share)
    assert not fleet.bad.out
    assert not fleet.good.out


def test_a_provider_that_dies_costs_both_three_failures_and_a_trial_brings_it_back_for_both() -> None:
    fleet = Fleet()
    fleet.good.cause = fleet.bad.cause = "ConnectionFailed"
    fleet.run(4)
    assert fleet.good.failed + fleet.bad.failed == 3
    fleet.good.cause = fleet.bad.cause = None
    fleet.run(3)
    assert not fleet.good.out
    assert not fleet.bad.out
    assert fleet.good.failed + fleet.bad.failed == 3


def test_a_gateway_that_only_claims_a_limit_is_believed_once() -> None:
    clock = HandClock(1_000.0)
    gateway, away = Gateway(clock), 0
    for _ in range(1_200):
        gateway.request()
        gateway.tracker.apply_relayed(AttemptLimited("a", "m", 300.0))
        away += gateway.out
        clock.now_s += 1
        gateway.tracker.sweep()
    assert away <= 300 + MOST_HEARD + 1


def test_own_failures_end_the_trust_in_own_answers() -> None:
    fleet = Fleet()
    fleet.bad.cause = "ServerError"
    fleet.run(60)
    assert not fleet.good.out
    fleet.good.cause = "ServerError"
    fleet.run(1)
    assert fleet.good.out


@pytest.mark.parametrize(("later_s", "holds"), [(DISPUTED_S - 1, True), (DISPUTED_S, False)])
def test_the_last_word_is_kept_for_five_minutes(later_s: float, holds: bool) -> None:
    disputes, well, unwell = Disputes(), ("a", "m"), ("b", "m")
    disputes.answered(well, 100.0, returned=True)
    disputes.told_well(unwell, 90.0)
    disputes.failed(unwell, 100.0)
    assert disputes.found_well(well, 100.0 + later_s) is holds
    assert disputes.found_unwell(unwell, 100.0 + later_s) is holds
    disputes.sweep(100.0 + later_s)
    assert disputes.known == (2 if holds else 0)


def test_nothing_is_disputed_without_a_return() -> None:
    disputes, scope = Disputes(), ("a", "m")
    disputes.answered(scope, 1.0, returned=False)
    disputes.failed(scope, 2.0)
    assert disputes.known == 0


def test_after_two_failures_of_others_the_next_is_our_own_and_an_own_failure_begins_anew() -> None:
    disputes, scope = Disputes(), ("a", "")
    for _ in range(MOST_HEARD):
        assert not disputes.heard_enough(scope)
        disputes.heard(scope, 1.0)
    assert disputes.heard_enough(scope)
    disputes.failed(scope, 2.0)
    assert not disputes.heard_enough(scope)
