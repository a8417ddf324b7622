"""A worker's time passes as it does, whatever the machine's clock is set to."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.hand_clock import HandClock

from limpet_extproc.process.steady_clock import clock_zero_s, passed_s, steady_clock


def test_it_begins_as_unix_time() -> None:
    assert steady_clock(clock_zero_s())() == pytest.approx(time.time(), abs=60)


def test_it_passes() -> None:
    before = passed_s()
    time.sleep(0.01)
    assert passed_s() > before


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from([-3600.0, 0.0, 3600.0])), max_size=20))
def test_no_jump_of_the_machines_clock_reaches_it(story: list[tuple[float, float]]) -> None:
    wall, passed = HandClock(1_760_000_000.0), HandClock(50.0)
    clock = steady_clock(clock_zero_s(wall, passed), passed)
    expected_s = 1_760_000_000.0
    for later_s, jump_s in story:
        passed.now_s += later_s
        wall.now_s += later_s + jump_s
        expected_s += later_s
        assert clock() == pytest.approx(expected_s, abs=1e-3)


def test_a_worker_that_is_started_again_after_a_jump_agrees_with_its_siblings() -> None:
    wall, passed = HandClock(1_760_000_000.0), HandClock(50.0)
    zero_s = clock_zero_s(wall, passed)
    sibling = steady_clock(zero_s, passed)
    wall.now_s += 3600
    passed.now_s += 10
    assert steady_clock(zero_s, passed)() == sibling() == 1_760_000_010.0
