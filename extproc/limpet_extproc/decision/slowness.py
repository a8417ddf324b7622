"""Whether a provider has become slow: its waits for the first byte against its own usual ones. Pure.

What is usual depends on how much there was to do, so each size of work has a baseline of its own, and streamed answers
are apart from whole ones. A baseline is a histogram of logarithmic buckets that forgets: a level that lasts becomes the
usual one after about ten minutes. An answer enters it late, so that the answers that are judged are not yet part of it.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
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

_MOST_SHARE: Final = 0.05
"""What one answer after a long silence weighs."""
_HEAVY: Final = 1e100
_NEARLY: Final = 1.0 - 1e-9
"""Sums of floats are not exact."""

_SETTLED: Final = 32
"""Samples after which a baseline changes little by each more, and ..."""
_BATCH: Final = 8
"""... takes in so many at once, as its quantiles cost a pass over all buckets."""


@dataclass(frozen=True, slots=True)
class SlownessThresholds:
    """What is usual, and what is slow; reasons in decision 0048."""

    min_samples: int = 10
    """Of a baseline, before anything is judged by it."""
    learning_samples: int = 200
    """So many weigh alike; after them a sample weighs by the time since the one before, and slow ones always do."""
    memory_s: float = 600.0
    recent: int = 5
    """Answers that are judged together."""
    slow_of_recent: int = 4
    """So many of them were slow: degraded."""
    times_median: float = 3.0
    beyond_s: float = 0.1
    """An answer is slow if it takes longer than so many medians, than so much beyond the median, and ..."""
    times_p95: float = 1.5
    most_times_median: float = 6.0
    """... than so many p95, which count as no more than so many medians: a few slow answers move the p95 far."""
    good_times_median: float = 2.0
    good_most_times_median: float = 4.0
    """An answer of a degraded provider is no longer slow below so many medians, or below the p95 within this bound."""


DEFAULT_SLOWNESS: Final = SlownessThresholds()


class Baseline(msgspec.Struct, frozen=True, gc=False):
    """The usual waits of one class."""

    weights: tuple[float, ...] = (0.0,) * _BUCKETS
    total: float = 0.0
    """Of all weights."""
    samples: int = 0
    at_s: float = 0.0
    """When the last sample came."""
    median_s: float = 0.0
    p95_s: float = 0.0


NO_BASELINE: Final = Baseline()


class Wait(msgspec.Struct, frozen=True, gc=False):
    """One wait for a first byte, which no baseline has taken in yet."""

    size: tuple[bool, int]
    """Streamed or not, and the class of its work."""
    at_s: float
    seconds: float
    slow: bool


class Pace(msgspec.Struct, frozen=True, gc=False):
    """How fast one model at one provider usually answers, and how fast it did lately."""

    baselines: Mapping[tuple[bool, int], Baseline] = {}
    recent: tuple[Wait, ...] = ()
    """Oldest first; the last few are judged."""


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
    baseline = pace.baselines.get(size)
    recent = (*pace.recent, Wait(size, now_s, first_byte_s, _is_slow(baseline, first_byte_s, thresholds)))
    late = 1 if baseline is None or baseline.samples < _SETTLED else _BATCH
    if len(recent) < thresholds.recent + late:
        return Pace(pace.baselines, recent)
    by_size: dict[tuple[bool, int], list[Wait]] = {}
    for wait in recent[: -thresholds.recent]:
        by_size.setdefault(wait.size, []).append(wait)
    new = {
        each: _with_waits(pace.baselines.get(each, NO_BASELINE), waits, thresholds) for each, waits in by_size.items()
    }
    return Pace({**pace.baselines, **new}, recent[-thresholds.recent :])


def has_slowed(pace: Pace, thresholds: SlownessThresholds = DEFAULT_SLOWNESS) -> bool:
    """Whether most of the latest answers were slow; one slow answer is none."""
    return sum(wait.slow for wait in pace.recent[-thresholds.recent :]) >= thresholds.slow_of_recent


def is_slow_still(pace: Pace, thresholds: SlownessThresholds = DEFAULT_SLOWNESS) -> bool:
    """Whether the last answer of a degraded provider is one more slow one."""
    if not pace.recent:
        return False
    last = pace.recent[-1]
    baseline = pace.baselines.get(last.size)
    if baseline is None or baseline.samples < thresholds.min_samples:
        return False
    usual_s = max(
        baseline.median_s * thresholds.good_times_median,
        min(baseline.p95_s, baseline.median_s * thresholds.good_most_times_median),
        baseline.median_s + thresholds.beyond_s,
    )
    return last.seconds > usual_s


def _is_slow(baseline: Baseline | None, seconds: float, thresholds: SlownessThresholds) -> bool:
    if baseline is None or baseline.samples < thresholds.min_samples:
        return False
    return seconds > max(
        baseline.median_s * thresholds.times_median,
        min(baseline.p95_s * thresholds.times_p95, baseline.median_s * thresholds.most_times_median),
        baseline.median_s + thresholds.beyond_s,
    )


def _with_waits(baseline: Baseline, waits: Sequence[Wait], thresholds: SlownessThresholds) -> Baseline:
    weights, total, samples, at_s = list(baseline.weights), baseline.total, baseline.samples, baseline.at_s
    for wait in waits:
        samples += 1
        share = 1.0 / samples
        if samples > thresholds.learning_samples or wait.slow:
            passed_s = max(0.0, wait.at_s - at_s)
            share = min(1.0 - exp(-passed_s / thresholds.memory_s), max(share, _MOST_SHARE))
        # Heavier new ones are the same as lighter old ones, and cost no pass over all buckets.
        added = total * share / (1.0 - share) if total else 1.0
        weights[_bucket(wait.seconds)] += added
        total, at_s = total + added, wait.at_s
    if total > _HEAVY:
        weights, total = [weight / total for weight in weights], 1.0
    return Baseline(
        tuple(weights), total, samples, at_s, _quantile(weights, 0.5 * total), _quantile(weights, 0.95 * total)
    )


def _bucket(seconds: float) -> int:
    return int(min(max(log(max(seconds, _LEAST_S) / _LEAST_S) / _LOG_STEP, 0.0), _BUCKETS - 1))


def _quantile(weights: Sequence[float], below: float) -> float:
    """The middle of the bucket up to which so much weight lies."""
    for bucket, upto in enumerate(accumulate(weights)):
        if upto >= below * _NEARLY:
            return float(_LEAST_S * _STEP ** (bucket + 0.5))
    return float(_LEAST_S * _STEP**_BUCKETS)
