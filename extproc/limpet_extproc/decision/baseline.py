"""What is usual of a duration: a histogram of logarithmic buckets that forgets. Pure.

A level that lasts becomes the usual one after about ten minutes, however many requests there are.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import exp, log
from typing import Final, NamedTuple

import msgspec

_LEAST_S: Final = 0.001
_STEP: Final = 1.25
"""Each bucket reaches so many times further than the one before: durations are told apart to an eighth."""
_BUCKETS: Final = 64
"""Up to 1,600 seconds."""
_LOG_STEP: Final = log(_STEP)

LEARNING: Final = 200
"""So many samples weigh alike; after them one weighs by the time since the one before, and an unusual one always."""
MEMORY_S: Final = 600.0
_MOST_SHARE: Final = 0.05
"""What one sample after a long silence weighs."""

_HEAVY: Final = 1e100
_NEARLY: Final = 1.0 - 1e-9
"""Sums of floats are not exact."""


class Baseline(msgspec.Struct, frozen=True, gc=False):
    """The usual durations of one kind."""

    weights: tuple[float, ...] = (0.0,) * _BUCKETS
    total: float = 0.0
    """Of all weights."""
    samples: int = 0
    at_s: float = 0.0
    """When the last sample came."""
    median_s: float = 0.0
    p95_s: float = 0.0


NO_BASELINE: Final = Baseline()


class Sample(NamedTuple):
    """One duration, and when it ended."""

    at_s: float
    seconds: float
    unusual: bool = False
    """It was far from what was usual then."""


def with_samples(baseline: Baseline, samples: Iterable[Sample]) -> Baseline:
    """The baseline with these in it, in the order of their times."""
    weights, total, count, at_s = list(baseline.weights), baseline.total, baseline.samples, baseline.at_s
    for sample in samples:
        count += 1
        share = 1.0 / count
        if count > LEARNING or sample.unusual:
            passed_s = max(0.0, sample.at_s - at_s)
            share = min(1.0 - exp(-passed_s / MEMORY_S), max(share, _MOST_SHARE))
        # Heavier new ones are the same as lighter old ones, and cost no pass over all buckets.
        added = total * share / (1.0 - share) if total else 1.0
        weights[_bucket(sample.seconds)] += added
        total, at_s = total + added, sample.at_s
    if total > _HEAVY:
        weights, total = [weight / total for weight in weights], 1.0
    upto = list(accumulate(weights))
    return Baseline(tuple(weights), total, count, at_s, _quantile(upto, 0.5 * total), _quantile(upto, 0.95 * total))


def _bucket(seconds: float) -> int:
    return int(min(max(log(max(seconds, _LEAST_S) / _LEAST_S) / _LOG_STEP, 0.0), _BUCKETS - 1))


def _quantile(upto: Sequence[float], below: float) -> float:
    """The middle of the bucket up to which so much weight lies. `upto`: for each bucket all weight up to its end."""
    return float(_LEAST_S * _STEP ** (bisect_left(upto, below * _NEARLY) + 0.5))
