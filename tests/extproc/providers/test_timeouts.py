"""What timeouts ended lately, by provider."""

from tests.extproc.hand_clock import HandClock

from limpet_extproc.providers.timeouts import KEPT_S, TimeoutCount


def test_those_of_the_last_ten_minutes_count_each_for_its_provider() -> None:
    clock = HandClock(1_000.0)
    timeouts = TimeoutCount(clock)
    timeouts.add("a")
    clock.now_s += KEPT_S / 2
    for provider in "ab":
        timeouts.add(provider)
    assert timeouts.recent() == {"a": 2, "b": 1}
    clock.now_s += KEPT_S / 2
    assert timeouts.recent() == {"a": 1, "b": 1}
    clock.now_s += KEPT_S
    assert timeouts.recent() == {}


def test_of_very_many_only_so_many_are_kept() -> None:
    timeouts = TimeoutCount(lambda: 1_000.0)
    for _ in range(5_000):
        timeouts.add("a")
    assert timeouts.recent() == {"a": 1_000}
