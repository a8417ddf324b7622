"""What outcomes teach: an average that forgets, factors in coarse steps, and what becomes of both without attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from limpet_extproc.decision.learn import NOTHING, Learned, after_attempt, after_return, factors

NOW = 1_760_000_000.0


def after(*failed: bool) -> Learned:
    learned = NOTHING
    for each in failed:
        learned = after_attempt(learned, each, NOW)
    return learned


def test_the_first_ten_attempts_count_alike() -> None:
    learned = after(*[number % 2 == 0 for number in range(10)])
    assert learned.samples == 10
    assert learned.error_rate == pytest.approx(0.5)


def test_later_ones_fade() -> None:
    assert after(*[True] * 10, *[False] * 50).error_rate < 0.01


@given(st.lists(st.booleans(), max_size=40))
def test_the_average_stays_within_what_was_seen(failed: list[bool]) -> None:
    learned = after(*failed)
    assert 0 <= learned.error_rate <= 1
    assert learned.samples == len(failed)
    assert all(1.0 <= factor <= 2.0 for factor in factors({"a": learned}, NOW).values())


@pytest.mark.parametrize(
    ("learned", "expected"),
    [
        (NOTHING, 1.0),
        (Learned(9, 1.0), 1.0),  # too few samples
        (Learned(10, 0.0), 1.0),
        (Learned(10, 0.1), 1.0),  # a little noise changes nothing
        (Learned(10, 0.2), 1.25),
        (Learned(10, 0.5), 1.5),
        (Learned(10, 1.0), 2.0),
    ],
)
def test_trouble_makes_a_dollar_count_more_in_coarse_steps(learned: Learned, expected: float) -> None:
    assert factors({"it": learned, "well": Learned(20)}, 0.0).get("it", 1.0) == expected


@pytest.mark.parametrize(("passed_s", "expected"), [(0.0, 2.0), (60.0, 1.5), (120.0, 1.25), (240.0, 1.0), (1e9, 1.0)])
def test_a_factor_fades_without_attempts(passed_s: float, expected: float) -> None:
    assert factors({"it": Learned(20, 1.0, NOW)}, NOW + passed_s).get("it", 1.0) == expected


def test_a_return_forgives_the_errors() -> None:
    learned = after_return(Learned(50, 0.9, NOW))
    assert factors({"a": learned}, NOW) == {}
    assert after_attempt(learned, False, NOW) == replace(NOTHING, samples=1, at_s=NOW)
