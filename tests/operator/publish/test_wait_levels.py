"""Few levels of waiting for any number of providers."""

from hypothesis import given
from hypothesis import strategies as st

from limpet_operator.publish.wait_levels import MAX_LEVELS, WaitLevel, level_of, wait_levels
from limpet_operator.resources.provider import Timeouts

_SECONDS = st.floats(0.1, 10_000)
_TIMEOUTS = st.builds(Timeouts, _SECONDS, _SECONDS, _SECONDS, _SECONDS)


def test_equal_limits_for_streams_are_one_level_whatever_whole_answers_may_take() -> None:
    assert wait_levels([Timeouts(2.0, 5.0, 60.0, 20.0), Timeouts(2.0, 5.0, 60.0, 900.0)]) == (WaitLevel(5.0, 60.0),)


def test_a_haste_is_a_level_of_its_own() -> None:
    quick, slow = Timeouts(2.0, 5.0, 60.0), Timeouts(2.0, 600.0, 120.0)
    levels = wait_levels([slow, quick])
    assert levels == (WaitLevel(5.0, 60.0), WaitLevel(600.0, 120.0))
    assert (level_of(quick, levels), level_of(slow, levels)) == (0, 1)


def test_without_providers_there_is_a_level() -> None:
    assert wait_levels([]) == (WaitLevel(),)


@given(st.lists(_TIMEOUTS, min_size=1, max_size=12))
def test_nobody_is_cut_short_and_a_higher_level_covers_all_that_a_lower_one_does(all_timeouts: list[Timeouts]) -> None:
    levels = wait_levels(all_timeouts)
    assert 1 <= len(levels) <= MAX_LEVELS
    for timeouts in all_timeouts:
        level = level_of(timeouts, levels)
        assert all(each.covers(timeouts) for each in levels[level:])
