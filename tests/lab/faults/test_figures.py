"""What a fault's figures say about its requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.faults.exchanges import broken, exchange, outcome

from limpet_lab.bench.faults.figures import Move, figures_of, first_byte_p99_ms, gone_astray, move_away


def test_a_provider_is_left_by_the_last_request_before_it_is_left_alone() -> None:
    met = [
        exchange(10.0, 1, "beta", attempts=2),
        exchange(10.3, 2, "beta", attempts=2),
        exchange(10.5, 3, "gamma"),
        exchange(10.6, 4, "beta"),
        exchange(16.0, 5, "beta", attempts=2),
    ]
    move = move_away(met, "gamma", 1.0)
    assert move == Move(pytest.approx(0.4), told_by=2, trials=1)  # type: ignore[arg-type]


def test_a_fault_that_nobody_met_moved_nobody() -> None:
    assert move_away([exchange(11.0)], "gamma", 1.0) is None


def test_a_fault_begins_with_the_first_request_that_it_harms() -> None:
    unharmed = [exchange(10.0, 1, "gamma"), exchange(10.5, 2, "gamma")]
    assert move_away(unharmed, "gamma", 0.1) is None
    slow = [exchange(11.0, 3, "gamma", ended_s=11.5), exchange(11.6, 4, "gamma", ended_s=12.1)]
    move = move_away([*unharmed, *slow], "gamma", 0.1)
    assert move == Move(pytest.approx(0.1), told_by=1, trials=0)  # type: ignore[arg-type]


def test_shares_are_of_the_time_in_which_a_request_ran() -> None:
    figures = outcome(
        exchange(5.0, cached=80), exchange(9.95, cached=40), exchange(15.0, cached=20), exchange(20.0, cached=60)
    ).figures
    assert (figures.cached_before, figures.cached_during, figures.cached_after) == (0.8, 0.3, 0.6)


def test_first_turns_say_nothing_about_the_cache() -> None:
    assert outcome(exchange(5.0, turn=1, cached=0)).figures.cached_before is None


def test_extra_attempts_are_counted_by_conversation_and_in_all() -> None:
    figures = outcome(
        exchange(11.0, 1, attempts=2), exchange(12.0, 1, attempts=3), exchange(12.0, 2, attempts=2), broken(13.0, 3)
    ).figures
    assert figures.extra_attempts == 4
    assert figures.extra_attempts_of_one == 3


def test_the_memory_is_right_again_after_the_last_turn_that_it_did_not_decide() -> None:
    figures = outcome(
        exchange(9.0, decision="first.scored"),
        exchange(11.0, decision="sticky.left.down"),
        exchange(12.5, decision="first.warm_head"),
        exchange(13.0, decision="sticky.hit"),
        exchange(13.5, decision="sticky.moved.cheaper"),
        exchange(14.0, turn=1, decision="first.scored"),
    ).figures
    assert figures.sticky_again_s == pytest.approx(2.5)
    assert figures.unremembered_of_one == 2


def test_an_answer_from_elsewhere_goes_astray_once() -> None:
    turns = [exchange(1, 1, "beta"), exchange(2, 1, "alpha"), broken(3, 1), exchange(4, 1, "alpha"), exchange(5, 2)]
    assert gone_astray(turns) == [turns[1]]


@given(st.lists(st.floats(0.001, 10.0), min_size=1, max_size=300))
def test_the_99th_percentile_is_a_time_that_was_seen_and_at_most_one_in_a_hundred_is_longer(times: list[float]) -> None:
    result = first_byte_p99_ms(exchange(1.0, first_byte_s=each) for each in times)
    assert result is not None
    assert any(1000 * each == result for each in times)
    assert sum(1000 * each > result for each in times) <= len(times) / 100


def test_nothing_asked_is_nothing_known() -> None:
    figures = outcome().figures
    assert (figures.requests, figures.move, figures.cached_during, figures.later_p99_ms) == (0, None, None, None)
    assert figures_of([], outcome().timeline, None) == figures
