"""Whether a provider has become slow: its waits for the first byte against its own usual ones. Pure.

What is usual depends on how much there was to do, so each size of work has a baseline of its own, and streamed answers
are apart from whole ones. A baseline is a histogram of logarithmic buckets that forgets: a level that lasts becomes the
usual one after about ten minutes. An answer enters it late, so that the answers that are judged are not yet part of it.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Final

import msgspec

_SIZES: Final = (1_000, 8_000, 32_000, 128_000)
"""Bounds of the classes of work, in tokens."""

_OUTPUT_WORK: Final = 20
"""Generating a token takes about as long as reading so many of a prompt: tens of tokens a second against thousands."""

_LEAST_S: Final = 0.001
_STEP: Final = 1.25
"""Each bucket reaches so many times further than the one before: waits are told apart to an eighth."""
_BUCKETS: Final = 64
"""Up to 1,600 seconds."""
_LOG_STEP: Final = log(_STEP)


@dataclass(frozen=True, slots=True)
class SlownessThresholds:
    """What is usual, and what is slow; reasons in decision 0048."""

    min_samples: int = 10
    """Of a baseline, before anything is judged by it."""
    learning_samples: int = 200
    """So many weigh alike; after them a sample weighs by the time since the one before."""
    memory_s: float = 600.0
    recent: int = 5
    """Answers that are judged together."""
    slow_of_recent: int = 4
    """So many of them were slow: degraded."""
    times_median: float = 3.0
    times_p95: float = 1.5
    beyond_s: float = 0.1
    """An answer is slow only if it takes longer than all three allow; the last is beyond the median."""
    good_times_median: float = 2.0
    """An answer of a degraded provider is no longer slow below this, or below the p95."""


DEFAULT_SLOWNESS: Final = SlownessThresholds()


class Baseline(msgspec.Struct, frozen=True, gc=False):
    """The usual waits of one class."""

    weights: tuple[float, ...] = (0.0,) * _BUCKETS
    samples: int = 0
    at_s: float = 0.0
    """When the last sample came."""
    median_s: float = 0.0
    p95_s: float = 0.0


class Wait(msgspec.Struct, frozen=True, gc=False):
    """One wait for a first byte that no baseline has taken in yet."""

    size: tuple[bool, int]
    """Streamed or not, and the class of its work."""
    seconds: float
    slow: bool


class Pace(msgspec.Struct, frozen=True, gc=False):
    """How fast one model at one provider usually answers, and how fast it did lately."""

    baselines: Mapping[tuple[bool, int], Baseline] = {}
    recent: tuple[Wait, ...] = ()


UNKNOWN_PACE: Final = Pace()


def work_tokens(prompt: int, cached: int | None, output: int, *, streamed: bool) -> int:
    """What a provider has to do before the first byte of an answer, in tokens of a prompt.

    What it read from its cache is nearly free; a whole answer begins when all of it has been generated.
    """
    return max(0, prompt - (cached or 0)) + (0 if streamed else output * _OUTPUT_WORK)


def after_answer(
    pace: Pace,
    now_s: float,
    first_byte_s: float,
    tokens: int,
    *,
    streamed: bool,
    thresholds: SlownessThresholds = DEFAULT_SLOWNESS,
) -> Pace:
    """The pace with one more answer in it, whose work was `tokens`."""
    size = (streamed, bisect_right(_SIZES, tokens))
    wait = Wait(size, first_byte_s, _is_slow(pace.baselines.get(size), first_byte_s, thresholds))
    recent = (*pace.recent, wait)
    if len(recent) <= thresholds.recent:
        return Pace(pace.baselines, recent)
    old = recent[0]
    baseline = _with_sample(pace.baselines.get(old.size, Baseline()), now_s, old.seconds, thresholds)
    return Pace({**pace.baselines, old.size: baseline}, recent[1:])


def has_slowed(pace: Pace, thresholds: SlownessThresholds = DEFAULT_SLOWNESS) -> bool:
    """Whether most of the latest answers were slow; one slow answer is none."""
    return sum(wait.slow for wait in pace.recent) >= thresholds.slow_of_recent


def is_slow_still(pace: Pace, thresholds: SlownessThresholds = DEFAULT_SLOWNESS) -> bool:
    """Whether the last answer of a degraded provider is one more slow one."""
    if not pace.recent:
        return False
    last = pace.recent[-1]
    baseline = pace.baselines.get(last.size)
    if baseline is None or baseline.samples < thresholds.min_samples:
        return False
    usual_s = max(
        baseline.median_s * thresholds.good_times_median, baseline.p95_s, baseline.median_s + thresholds.beyond_s
    )
    return last.seconds > usual_s


def _is_slow(baseline: Baseline | None, seconds: float, thresholds: SlownessThresholds) -> bool:
    if baseline is None or baseline.samples < thresholds.min_samples:
        return False
    return seconds > max(
        baseline.median_s * thresholds.times_median,
        baseline.p95_s * thresholds.times_p95,
        baseline.median_s + thresholds.beyond_s,
    )


def _with_sample(baseline: Baseline, now_s: float, seconds: float, thresholds: SlownessThresholds) -> Baseline:
    samples = baseline.samples + 1
    if samples <= thresholds.learning_samples:
        weight = 1.0 / samples
    else:
        passed_s = max(0.0, now_s - baseline.at_s)
        weight = min(1.0 - exp(-passed_s / thresholds.memory_s), 1.0 / thresholds.min_samples / 2)
    bucket = int(min(max(log(max(seconds, _LEAST_S) / _LEAST_S) / _LOG_STEP, 0.0), _BUCKETS - 1))
    weights = [each * (1.0 - weight) for each in baseline.weights]
    weights[bucket] += weight
    return Baseline(tuple(weights), samples, now_s, _quantile(weights, 0.5), _quantile(weights, 0.95))


def _quantile(weights: list[float], share: float) -> float:
    """The middle of the bucket that it lies in."""
    left = share * sum(weights)
    for bucket, weight in enumerate(weights):
        left -= weight
        if left <= 1e-9:
            return float(_LEAST_S * _STEP ** (bucket + 0.5))
    return float(_LEAST_S * _STEP**_BUCKETS)
