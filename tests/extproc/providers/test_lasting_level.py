"""A provider that has become slower for good: out for about ten minutes, and then that is its usual pace."""

from random import Random

import pytest
from tests.extproc.hand_clock import HandClock

from limpet_extproc.decision.slowness import Timing
from limpet_extproc.providers.events import AttemptSucceeded, TrialBegan
from limpet_extproc.providers.tracker import ProviderTracker


def out_s(tracker: ProviderTracker, clock: HandClock, random: Random, seconds: int, times: float) -> list[int]:
    """The seconds in which the provider is out, with a request in each that goes there if it may."""
    out = []
    for second in range(seconds):
        clock.now_s += 1
        judged = tracker.states.judge("a", "m", clock.now_s)
        if judged.trouble is not None:
            out.append(second)
            if not judged.trial:
                continue
            tracker.apply(TrialBegan("a", "m"))
        first_s = times * random.lognormvariate(0, 0.25)
        tracker.apply(AttemptSucceeded("a", "m", Timing(first_s, 500, 2.0, 4000), 1.0))
    return out


@pytest.mark.parametrize("times", [4.0, 8.0, 20.0])
def test_a_level_that_lasts_becomes_the_usual_one_after_about_ten_minutes(times: float) -> None:
    ends_s = []
    for seed in range(5):
        clock, random = HandClock(1_760_000_000.0), Random(seed)
        tracker = ProviderTracker(clock, lambda _: None)
        assert out_s(tracker, clock, random, 300, 1.0) == []
        out = out_s(tracker, clock, random, 3600, times)
        assert out == list(range(out[0], out[-1] + 1)), "once"
        ends_s.append(out[-1])
    assert 500 < sorted(ends_s)[2] < 1000
    assert max(ends_s) < 1800
