"""A provider that has become slow, by its own measure; and all that is only a larger prompt or one slow answer."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.decision.slowness import (
    DEFAULT_SLOWNESS,
    UNKNOWN_PACE,
    Timing,
    UsualPace,
    after_answer,
    is_slow_still,
    why_slow,
    work_tokens,
)

Answer = tuple[float, int]
"""Seconds to the first byte, and the work in tokens."""


def after(
    answers: Iterable[Answer], pace: UsualPace = UNKNOWN_PACE, *, every_s: float = 1.0, rest_s: float | None = 0.5
) -> UsualPace:
    """After streams whose rest took half a second for 4 KiB, or with `rest_s` None after whole answers."""
    now_s = last_s(pace)
    for seconds, tokens in answers:
        now_s += every_s
        pace = after_answer(pace, now_s, Timing(seconds, tokens, rest_s, 4096))
    return pace


def last_s(pace: UsualPace) -> float:
    """When the last answer came that is in it."""
    learned_s = [each.at_s for each in pace.baselines.values()]
    return max(0.0, *learned_s, *(each.at_s for each in pace.recent), 0.0)


def has_slowed(pace: UsualPace) -> bool:
    return why_slow(pace) != ""


def noisy(seconds: float, tokens: int, count: int, seed: int = 1) -> list[Answer]:
    """Waits that vary as real ones do: most within a factor of two, a few twice that."""
    random = Random(seed)
    return [(seconds * random.lognormvariate(0.0, 0.35), tokens) for _ in range(count)]


def answers_until_slow(pace: UsualPace, answers: Iterable[Answer]) -> int | None:
    """How many of the answers it takes until the provider counts as slow."""
    for number, answer in enumerate(answers, 1):
        pace = after([answer], pace)
        if has_slowed(pace):
            return number
    return None


@pytest.mark.parametrize("usual_s", [0.02, 0.3, 2.0, 30.0])
@pytest.mark.parametrize("known", [20, 50, 1000])
def test_twenty_times_slower_is_seen_within_ten_answers(usual_s: float, known: int) -> None:
    pace = after(noisy(usual_s, 500, known))
    found = answers_until_slow(pace, noisy(20 * usual_s, 500, 10, seed=2))
    assert found is not None
    assert found <= DEFAULT_SLOWNESS.slow_of_recent


def test_streams_and_whole_answers_are_judged_together_each_by_its_own_baseline() -> None:
    pace = after(noisy(0.2, 500, 40))
    pace = after(noisy(5.0, 9_000, 40), pace, rest_s=None)
    assert not has_slowed(pace)
    for number in range(8):
        streamed = number % 2 == 0
        pace = after([(4.0, 500) if streamed else (100.0, 9_000)], pace, rest_s=0.5 if streamed else None)
    assert why_slow(pace) == "SlowFirstByte"


def test_whole_answers_that_are_as_fast_as_ever_do_not_hide_streams_that_drip() -> None:
    pace = after([(0.3, 500)] * 40, after([(0.3, 500)] * 40, rest_s=None))
    for _ in range(4):
        pace = after([(0.3, 500)], after([(0.3, 500)], pace, rest_s=None), rest_s=10.0)
    assert why_slow(pace) == "SlowStream"


def test_whole_answers_and_streams_that_drip_are_found_together() -> None:
    pace = after([(0.3, 500)] * 40, after([(0.3, 500)] * 40, rest_s=None))
    for _ in range(4):
        pace = after([(0.3, 500)], after([(2.0, 500)], pace, rest_s=None), rest_s=4.0)
    assert why_slow(pace) == "SlowStream"


def test_a_stream_that_begins_in_time_and_then_drips_is_slow_too() -> None:
    pace = after([(0.3, 500)] * 40)
    for _ in range(8):
        pace = after([(0.3, 500)], pace, rest_s=10.0)
    assert why_slow(pace) == "SlowStream"
    assert is_slow_still(pace, last_s(pace))
    longer = after([(0.3, 500)] * 40)
    for _ in range(20):
        longer = after_answer(longer, 60.0, Timing(0.3, 500, 10.0, 80 * 1024))
    assert why_slow(longer) == "", "a longer answer takes longer"


def test_answers_of_a_size_that_is_not_known_yet_do_not_hide_that_all_others_are_slow() -> None:
    pace = after(noisy(0.3, 500, 40))
    for slow, of_new_size in zip(noisy(6.0, 500, 8), noisy(6.0, 60_000, 8), strict=True):
        pace = after([of_new_size, slow], pace)
    assert why_slow(pace) == "SlowFirstByte"


def test_answers_of_a_long_time_are_not_judged_together() -> None:
    pace = after(noisy(0.3, 500, 40))
    assert not has_slowed(after(noisy(6.0, 500, 8), pace, every_s=60.0))


@pytest.mark.parametrize(("known", "slow"), [(True, "SlowFirstByte"), (False, "")])
def test_where_the_work_is_not_known_a_cold_prompt_is_no_slowness(known: bool, slow: str) -> None:
    pace = UNKNOWN_PACE
    for number, (seconds, tokens) in enumerate(noisy(0.9, 100_000, 100) + [(7.0, 100_000)] * 8):
        pace = after_answer(pace, float(number), Timing(seconds, tokens, 0.5, 4096, known))
    assert why_slow(pace) == slow


@pytest.mark.parametrize(
    ("story", "answers"),
    [
        ("the same as ever", noisy(0.3, 500, 2000, seed=3)),
        ("one very slow answer", [(60.0, 500), *noisy(0.3, 500, 9)]),
        ("every third answer is slow", [(9.0, 500), (0.3, 500), (0.3, 500)] * 20),
        ("larger prompts of a size that is not known yet", noisy(12.0, 60_000, 200)),
        ("twice as slow as usual", noisy(0.6, 500, 200)),
        ("a few milliseconds more of very few", [(0.06, 500)] * 50),
    ],
)
def test_what_is_no_slowness(story: str, answers: list[Answer]) -> None:
    usual = after(noisy(0.3 if story != "a few milliseconds more of very few" else 0.005, 500, 300))
    assert answers_until_slow(usual, answers) is None, story


def test_a_prompt_that_was_not_in_the_cache_is_compared_with_others_that_were_not() -> None:
    """A conversation of 30,000 tokens, most of them cached; then it moves here cold, with fifty others."""
    warm = work_tokens(30_000, 29_600, 200, streamed=True)
    cold = work_tokens(30_000, 0, 200, streamed=True)
    usual = after([*noisy(0.4, warm, 200), *noisy(3.0, cold, 12)])
    assert answers_until_slow(usual, noisy(3.0, cold, 50)) is None
    never_cold = after(noisy(0.4, warm, 200))
    assert answers_until_slow(never_cold, noisy(3.0, cold, 50)) is None


def test_a_long_whole_answer_is_compared_with_other_long_ones() -> None:
    short, long = (work_tokens(1_000, 0, output, streamed=False) for output in (20, 2_000))
    usual = after(noisy(0.5, short, 100), rest_s=None)
    for seconds, tokens in noisy(30.0, long, 50):
        usual = after([(seconds, tokens)], usual, rest_s=None)
        assert not has_slowed(usual)


def test_a_degraded_provider_is_well_again_when_it_is_nearly_as_fast_as_before() -> None:
    slow = after(noisy(20 * 0.3, 500, 8), after(noisy(0.3, 500, 100)))

    def still(seconds: float, tokens: int) -> bool:
        return is_slow_still(after([(seconds, tokens)], slow), last_s(slow) + 1.0)

    assert still(2.0, 500)
    assert not still(0.5, 500)
    assert not still(2.0, 60_000), "of another size nothing is known"


@given(
    st.lists(
        st.tuples(
            st.builds(
                Timing,
                st.floats(0, 1e6),
                st.integers(0, 10**9),
                st.none() | st.floats(0, 1e6),
                st.integers(0, 10**9),
                st.booleans(),
            ),
            st.floats(-10, 1e6),
        ),
        max_size=60,
    )
)
def test_no_answer_breaks_it_and_what_is_kept_is_bounded(story: list[tuple[Timing, float]]) -> None:
    pace, now_s = UNKNOWN_PACE, 0.0
    for timing, passed_s in story:
        now_s += passed_s
        pace = after_answer(pace, now_s, timing)
        why_slow(pace)
        is_slow_still(pace, now_s)
    assert len(pace.recent) < 2 * DEFAULT_SLOWNESS.recent + 8
    assert len(pace.baselines) <= 2 * 2 * 8 + 4
    for baseline in pace.baselines.values():
        assert sum(baseline.weights) == pytest.approx(baseline.total)
        assert 0 < baseline.median_s <= baseline.p95_s


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=40))
def test_answers_alike_are_never_slow(seconds: list[float]) -> None:
    pace = after((each, 500) for each in [seconds[0]] * 60)
    assert not has_slowed(pace)
