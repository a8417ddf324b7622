"""What outcomes teach: averages that forget, factors in coarse steps, and what becomes of both without attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from limpet_extproc.decision.learn import NOTHING, Learned, after_answer, after_attempt, after_return, factors

NOW = 1_760_000_000.0


def after(*attempts: tuple[bool, float | None]) -> Learned:
    learned = NOTHING
    for failed, first_byte_s in attempts:
        learned = after_attempt(learned, failed, first_byte_s, NOW)
    return learned


def test_the_first_ten_attempts_count_alike() -> None:
    learned = after(*[(number % 2 == 0, 0.2 * (number + 1)) for number in range(10)])
    assert learned.samples == 10
    assert learned.error_rate == pytest.approx(0.5)
    assert learned.first_byte_s == pytest.approx(1.1)


def test_later_ones_fade() -> None:
    learned = after(*[(True, None)] * 10, *[(False, 1.0)] * 50)
    assert learned.error_rate < 0.01


def test_an_attempt_without_a_byte_does_not_count_as_a_wait() -> None:
    assert after((False, 2.0), (True, None)).first_byte_s == 2.0


@given(st.lists(st.tuples(st.booleans(), st.none() | st.floats(0.001, 100)), max_size=40))
def test_averages_stay_within_what_was_seen(attempts: list[tuple[bool, float | None]]) -> None:
    learned, waits = after(*attempts), [wait for _, wait in attempts if wait is not None]
    assert 0 <= learned.error_rate <= 1
    assert learned.samples == len(attempts)
    if waits:
        assert min(waits) * 0.999 <= learned.first_byte_s <= max(waits) * 1.001
    assert all(1.0 <= factor <= 3.0 for factor in factors({"a": learned, "b": Learned(20, 0, 0.001)}, NOW).values())


@pytest.mark.parametrize(
    ("learned", "fastest_s", "expected"),
    [
        (NOTHING, 0.1, 1.0),
        (Learned(9, 1.0, 60.0), 0.1, 1.0),  # too few samples
        (Learned(10, 0.0, 0.4), 0.4, 1.0),
        (Learned(10, 0.1, 0.4), 0.4, 1.0),  # a little noise changes nothing
        (Learned(10, 0.2, 0.4), 0.4, 1.25),
        (Learned(10, 1.0, 0.4), 0.4, 2.0),
        (Learned(10, 0.0, 0.6), 0.1, 1.0),  # six times as slow, but by half a second only
        (Learned(10, 0.0, 2.0), 0.4, 1.5),
        (Learned(10, 0.0, 1.2), 0.6, 1.0),  # later by more than half a second, but not three times
        (Learned(10, 0.5, 9.0), 0.4, 2.25),
    ],
)
def test_trouble_makes_a_dollar_count_more_in_coarse_steps(learned: Learned, fastest_s: float, expected: float) -> None:
    assert factors({"it": learned, "fastest": Learned(20, 0.0, fastest_s)}, 0.0).get("it", 1.0) == expected


@pytest.mark.parametrize(
    ("learned", "passed_s", "expected"),
    [
        (Learned(20, 1.0, 0.4), 0.0, 2.0),
        (Learned(20, 1.0, 0.4), 60.0, 1.5),
        (Learned(20, 1.0, 0.4), 120.0, 1.25),
        (Learned(20, 1.0, 0.4), 240.0, 1.0),
        (Learned(20, 0.0, 9.0), 299.0, 1.5),
        (Learned(20, 0.0, 9.0), 300.0, 1.0),
        (Learned(20, 0.5, 9.0), 60.0, 1.875),
        (Learned(20, 1.0, 9.0), 1e9, 1.0),
    ],
)
def test_a_factor_fades_without_attempts(learned: Learned, passed_s: float, expected: float) -> None:
    known = {"it": replace(learned, at_s=NOW), "fastest": Learned(20, 0.0, 0.4, at_s=NOW)}
    assert factors(known, NOW + passed_s).get("it", 1.0) == expected


def test_a_return_forgives_the_errors_and_the_next_wait_counts_in_full() -> None:
    learned = after_return(Learned(50, 0.9, 8.0, 20.0, NOW))
    assert factors({"a": learned, "b": Learned(20, 0.0, 0.4, at_s=NOW)}, NOW) == {}
    learned = after_attempt(learned, False, 0.5, NOW)
    assert (learned.samples, learned.error_rate, learned.first_byte_s) == (1, 0.0, 0.5)
    assert learned.tokens_per_s == 20.0, "an outage says nothing about the speed"


def test_the_fastest_is_looked_for_among_those_that_are_known_well() -> None:
    learned = {
        "new": Learned(2, 0, 0.01),
        "silent": Learned(20, 1, 0.0),
        "a": Learned(20, 0, 0.5),
        "b": Learned(20, 0, 1.4),
    }
    assert factors(learned, 0.0) == {"silent": 2.0}
    assert factors({}, 0.0) == {}


@pytest.mark.parametrize(
    ("answers", "tokens_per_s"),
    [
        ([], 0.0),
        ([(100, 2.0)], 50.0),
        ([(100, 2.0), (100, 1.0)], 55.0),
        ([(15, 0.001)], 0.0),
        ([(100, 0.0)], 0.0),
        ([(100, 2.0), (3, 60.0)], 50.0),
    ],
)
def test_speed_is_an_average_of_answers_that_are_long_enough(
    answers: list[tuple[int, float]], tokens_per_s: float
) -> None:
    learned = NOTHING
    for tokens, seconds in answers:
        learned = after_answer(learned, tokens, seconds)
    assert learned.tokens_per_s == pytest.approx(tokens_per_s)


def test_a_failure_does_not_count_as_speed() -> None:
    learned = after_answer(NOTHING, 100, 2.0)
    assert after_attempt(learned, True, None, NOW).tokens_per_s == 50.0
    assert after_attempt(learned, False, 0.1, NOW).tokens_per_s == 50.0
