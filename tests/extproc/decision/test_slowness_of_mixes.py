"""Ordinary traffic of very different requests is no slowness; and one that slows by twenty times is found."""

from collections.abc import Callable
from random import Random

import pytest

from limpet_extproc.decision.slowness import UNKNOWN_PACE, Timing, UsualPace, after_answer, why_slow

Mix = Callable[[Random], Timing]


def around(random: Random, seconds: float, sigma: float = 0.3) -> float:
    return seconds * random.lognormvariate(0.0, sigma)


def often_and_sometimes(often_s: float, sometimes_s: float, share: float, *, tokens: int = 500) -> Mix:
    """First tokens that come much later in a share of streams, for a reason that nothing shows."""
    return lambda random: Timing(around(random, sometimes_s if random.random() < share else often_s), tokens, 2.0, 4000)


def with_logprobs(share: float) -> Mix:
    """Streams of a tenant who asks for logprobs have many times the bytes for a token."""
    return lambda random: (
        Timing(around(random, 1.0), 500, around(random, 3.0, 0.15), 375_000)
        if random.random() < share
        else Timing(around(random, 1.0), 500, around(random, 10.0, 0.15), 110_000)
    )


def cold_without_usage(share: float) -> Mix:
    return lambda random: Timing(
        around(random, 9.0 if random.random() < share else 0.9), 100_000, 2.0, 4000, known=False
    )


def whole_without_usage(random: Random) -> Timing:
    """Answers of 20 to 4,000 tokens, of which only the prompt is known."""
    return Timing(max(0.3, 80.0 * random.random() ** 3), 500, known=False)


def very_large(random: Random) -> Timing:
    tokens = random.choice([130_000] * 8 + [1_000_000] * 2)
    return Timing(around(random, 0.3 + tokens / 10_000, 0.2), tokens, 2.0, 4000)


def paused(random: Random) -> Timing:
    """Streams that wait for a tool in between."""
    return Timing(around(random, 1.0), 500, around(random, 30.0 if random.random() < 0.3 else 2.0), 4000)


MIXES: dict[str, Mix] = {
    "one in ten thinks for long": often_and_sometimes(1.0, 20.0, 0.1),
    "one in five thinks for long": often_and_sometimes(1.0, 20.0, 0.2),
    "three in ten are of a slow tier": often_and_sometimes(1.0, 8.0, 0.3),
    "logprobs for six in ten": with_logprobs(0.6),
    "logprobs for eight in ten": with_logprobs(0.8),
    "one in ten cold, unknown which": cold_without_usage(0.1),
    "three in ten cold, unknown which": cold_without_usage(0.3),
    "whole answers of unknown length": whole_without_usage,
    "prompts of 130,000 and of a million": very_large,
    "pauses in mid stream": paused,
    "waits of all lengths": lambda random: Timing(around(random, 1.0, 1.2), 500, 2.0, 4000),
}


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES.keys())
def test_requests_that_differ_are_no_slowness(mix: Mix) -> None:
    """In an hour of half a request a second: one alarm would take the provider out for at least half a minute."""
    random, pace, alarms = Random(1), UNKNOWN_PACE, 0
    for number in range(1800):
        pace = after_answer(pace, 2.0 * number, mix(random))
        alarms += why_slow(pace) != ""
    assert alarms == 0


def answered(pace: UsualPace, random: Random, begin_s: float, count: int, first: float, rest: float) -> list[UsualPace]:
    paces = []
    for number in range(count):
        timing = Timing(around(random, 0.5 * first, 0.4), 500, around(random, 2.0 * rest, 0.4), 4000)
        pace = after_answer(pace, begin_s + number, timing)
        paces.append(pace)
    return paces


@pytest.mark.parametrize(("first", "rest", "cause"), [(20, 1, "SlowFirstByte"), (1, 20, "SlowStream")])
@pytest.mark.parametrize("known", [15, 100])
def test_twenty_times_slower_is_found_within_ten_answers_in_nearly_all_histories(
    first: float, rest: float, cause: str, known: int
) -> None:
    histories, found = 200, 0
    for seed in range(histories):
        random = Random(seed)
        usual = answered(UNKNOWN_PACE, random, 0.0, known, 1, 1)[-1]
        found += any(why_slow(pace) == cause for pace in answered(usual, random, known, 10, first, rest))
    assert found >= 0.99 * histories
