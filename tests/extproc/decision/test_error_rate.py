"""A provider that fails often, though never several times in a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.decision.error_rate import EMPTY_WINDOW, ErrorWindow, still_failing, too_many, with_attempt


def window(outcomes: str, every_s: float = 1.0) -> ErrorWindow:
    """One attempt for each letter: `x` failed."""
    built = EMPTY_WINDOW
    for number, outcome in enumerate(outcomes):
        built = with_attempt(built, number * every_s, failed=outcome == "x")
    return built


@pytest.mark.parametrize(
    ("outcomes", "every_s", "expected"),
    [
        ("", 1.0, False),
        ("xxxx", 1.0, False),  # too few; failures in a row are another rule's
        (".x.x.x.x.", 1.0, False),
        (".x.x.x.x.x", 1.0, True),
        ("..x..x..x.", 1.0, False),  # three of ten may be chance
        ("..x..x..x..x", 1.0, True),
        ("...x" * 5, 1.0, False),
        ("xxxxxxxxxx" + "." * 20, 1.0, False),  # only the last twenty count
        (".x.x.x.x.x", 10.0, False),  # of ten seconds each, the last minute holds six
    ],
)
def test_a_provider_is_degraded_by_the_share_of_its_last_attempts(
    outcomes: str, every_s: float, expected: bool
) -> None:
    assert too_many(window(outcomes, every_s)) is expected


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [("...", False), ("x..", False), ("." * 9 + "x", False), ("." * 8 + "xx", True), ("." * 18 + "xx", False)],
)
def test_it_returns_only_when_far_fewer_fail(outcomes: str, expected: bool) -> None:
    assert still_failing(window(outcomes)) is expected


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=60))
def test_the_window_is_bounded_and_what_is_too_many_is_still_failing(story: list[tuple[float, bool]]) -> None:
    built, now_s = EMPTY_WINDOW, 0.0
    for pause_s, failed in story:
        now_s += pause_s
        built = with_attempt(built, now_s, failed=failed)
        assert len(built.at_s) == len(built.failed) <= 20
        assert all(now_s - 60 < at_s <= now_s for at_s in built.at_s)
        assert still_failing(built) or not too_many(built)
