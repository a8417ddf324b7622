"""How fast a model answers: averages that forget and fade, who is slow at it, and who comes first by speed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from limpet_extproc.decision.speed import (
    UNSEEN,
    AnswerSpeed,
    after_first_token,
    after_outage,
    after_output,
    by_latency,
    by_throughput,
    slow_factors,
)

NOW = 1_760_000_000.0


def after(*waits_s: float | None, streamed: bool = True, speed: AnswerSpeed = UNSEEN) -> AnswerSpeed:
    for wait_s in waits_s:
        speed = after_first_token(speed, wait_s, NOW, streamed=streamed)
    return speed


def known(wait_s: float, answers: int = 20, at_s: float = NOW) -> AnswerSpeed:
    return AnswerSpeed(answers, wait_s, True, 0.0, at_s)


def test_the_first_ten_answers_count_alike_and_later_ones_fade() -> None:
    assert after(*[0.2 * (number + 1) for number in range(10)]).first_token_s == pytest.approx(1.1)
    assert after(*[9.0] * 10, *[1.0] * 60).first_token_s == pytest.approx(1.0, abs=0.02)


def test_an_answer_that_was_not_measured_counts_as_one_and_changes_no_average() -> None:
    assert after(2.0, None) == AnswerSpeed(2, 2.0, True, 0.0, NOW)


def test_whole_answers_show_the_wait_only_until_one_is_streamed() -> None:
    whole = after(8.0, 10.0, streamed=False)
    assert (whole.first_token_s, whole.streamed) == (9.0, False)
    streamed = after(0.5, speed=whole)
    assert (streamed.first_token_s, streamed.streamed) == (0.5, True)
    assert after(8.0, streamed=False, speed=streamed).first_token_s == 0.5


@given(st.lists(st.none() | st.floats(0.001, 100), max_size=40))
def test_averages_stay_within_what_was_seen(waits_s: list[float | None]) -> None:
    speed, seen = after(*waits_s), [wait for wait in waits_s if wait is not None]
    assert speed.answers == len(waits_s)
    if seen:
        assert min(seen) * 0.999 <= speed.first_token_s <= max(seen) * 1.001


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
def test_output_is_an_average_of_answers_that_are_long_enough(
    answers: list[tuple[int, float]], tokens_per_s: float
) -> None:
    speed = UNSEEN
    for tokens, seconds in answers:
        speed = after_output(speed, tokens, seconds)
    assert speed.tokens_per_s == pytest.approx(tokens_per_s)


def test_after_an_outage_the_next_wait_counts_in_full() -> None:
    assert after(0.5, speed=after_outage(known(8.0))).first_token_s == 0.5


@pytest.mark.parametrize(
    ("speed", "fastest_s", "slow"),
    [
        (UNSEEN, 0.1, False),
        (known(60.0, answers=9), 0.1, False),  # too few
        (known(0.4), 0.4, False),
        (known(0.6), 0.1, False),  # six times as slow, but by half a second only
        (known(2.0), 0.4, True),
        (known(1.2), 0.6, False),  # later by more than half a second, but not three times
        (known(2.0, at_s=NOW - 299.0), 0.4, True),
        (known(2.0, at_s=NOW - 300.0), 0.4, False),
    ],
)
def test_who_comes_far_later_than_the_fastest_is_slow(speed: AnswerSpeed, fastest_s: float, slow: bool) -> None:
    found = slow_factors({"it": speed, "fastest": known(fastest_s), "new": known(0.001, answers=2)}, NOW)
    assert found == ({"it": 1.5} if slow else {})


@pytest.mark.parametrize(
    ("speeds", "latency", "throughput"),
    [
        ({"a": AnswerSpeed(20, 0.5, True, 50.0, NOW), "b": AnswerSpeed(20, 0.2, True, 40.0, NOW)}, "ba", "ab"),
        # Whoever is not known is asked, but not for ever.
        ({"a": known(0.1), "b": UNSEEN, "c": AnswerSpeed(2, at_s=NOW), "d": AnswerSpeed(3, at_s=NOW)}, "bcad", "bcad"),
        # What nothing confirms counts twice after an hour.
        (
            {
                "a": AnswerSpeed(20, 0.5, True, 50.0, NOW),
                "b": AnswerSpeed(20, 0.9, True, 28.0, NOW - 3600),
                "c": AnswerSpeed(20, 1.1, True, 24.0, NOW - 3600),
            },
            "bac",
            "bac",
        ),
    ],
)
def test_the_fastest_comes_first_after_those_that_are_not_known_yet(
    speeds: dict[str, AnswerSpeed], latency: str, throughput: str
) -> None:
    if "d" in speeds:
        speeds["a"] = replace(speeds["a"], tokens_per_s=1.0)
    assert "".join(sorted(speeds, key=lambda name: by_latency(speeds[name], NOW))) == latency
    assert "".join(sorted(speeds, key=lambda name: by_throughput(speeds[name], NOW))) == throughput


@given(st.floats(-1e12, 1e12), st.floats(0.001, 1e3))
def test_no_clock_makes_a_rank_that_cannot_be_compared(at_s: float, wait_s: float) -> None:
    rank = by_latency(known(wait_s, at_s=at_s), NOW)
    assert rank == rank
    assert 0.0 <= rank.value <= wait_s
