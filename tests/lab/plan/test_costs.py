"""What is planned: each provider alone, each two and all; a month is the log as many times as it fits."""

import pytest

from limpet_lab.plan.costs import seconds_of, sets_of
from limpet_lab.replay.trace import TraceRow


@pytest.mark.parametrize(
    ("names", "sets"),
    [
        ("a", ["a"]),
        ("ab", ["a", "b", "ab"]),
        ("abc", ["a", "b", "c", "ab", "ac", "bc", "abc"]),
        ("abcdefg", [*"abcdefg", "abcdefg"]),
    ],
)
def test_the_sets_that_are_planned(names: str, sets: list[str]) -> None:
    assert sets_of(list(names)) == [tuple(each) for each in sets]


@pytest.mark.parametrize(("times_s", "seconds"), [([], 0.0), ([5], 0.0), ([0, 10], 20.0), ([100, 110, 120], 30.0)])
def test_a_log_stands_for_its_span_and_one_gap_more(times_s: list[float], seconds: float) -> None:
    rows = [TraceRow(at_s * 1000, 1, 1, (number,)) for number, at_s in enumerate(times_s)]
    assert seconds_of(rows) == seconds
