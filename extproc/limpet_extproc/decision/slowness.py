"""Whether a provider has become slow, by how long its answers usually take. Pure.

A streamed answer is measured twice: from the request to its first token, and how fast the rest of it comes. A whole one
is measured once. What is usual depends on how much there was to do, so each size of work has a baseline of its own. An
answer enters it late, so that the answers that are judged are not yet part of it.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.decision.baseline import NO_BASELINE, Baseline, Sample, with_samples

_SIZES: Final = (1_000, 8_000, 32_000, 128_000)
"""Bounds of the classes of work, in tokens."""

_OUTPUT_WORK: Final = 20
"""Generating a token takes about as long as reading so many of a prompt: tens of tokens a second against thousands."""

_SETTLED: Final = 32
"""Samples after which a baseline changes little by each more, and ..."""
_BATCH: Final = 8
"""... takes in so many at once, as its quantiles cost a pass over all buckets."""

_Kind = tuple[Literal["first_token", "whole", "rest"], int]
"""What a duration is of, and the class of its work. The rest of a stream counts for each KiB of it."""


@dataclass(frozen=True, slots=True)
class SlownessThresholds:
    """What is usual, and what is slow; reasons in decision 0048."""

    min_samples: int = 10
    """Of a baseline, before anything is judged by it."""
    recent: int = 5
    """Answers that are judged together."""
    slow_of_recent: int = 4
    """So many of them were slow: degraded. Or so many were very slow:"""
    very_slow_of_recent: int = 3
    times_median: float = 3.0
    beyond_s: float = 0.25
    """An answer is slow if it takes longer than so many medians, than so much beyond the median, and ..."""
    times_p95: float = 1.5
    most_times_median: float = 6.0
    """... than so many p95, which count as no more than so many medians: a few slow answers move the p95 far."""
    very_slow_times_median: float = 10.0
    good_times_median: float = 2.0
    good_most_times_median: float = 4.0
    """An answer of a degraded provider is no longer slow below so many medians, or below the p95 within this bound."""


DEFAULT_SLOWNESS: Final = SlownessThresholds()


class Timing(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How long one answer took."""

    first_byte_s: float
    """From the request to the first token of a stream, or to the end of a whole answer."""
    work_tokens: int = 0
    """What had to be done until then (`work_tokens`)."""
    rest_s: float | None = None
    """From there to the end of a stream; None: it was none."""
    rest_bytes: int = 0


class _Duration(msgspec.Struct, frozen=True, gc=False):
    """One duration of an answer that no baseline has taken in yet."""

    kind: _Kind
    seconds: float
    slow: bool
    very_slow: bool
    slow_still: bool
    """For a provider that is degraded already."""


class TimedAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer, judged by what was usual when it came."""

    at_s: float
    parts: tuple[_Duration, ...]


class UsualPace(msgspec.Struct, frozen=True, gc=False):
    """How fast one model at one provider usually answers, and how fast it did lately."""

    baselines: Mapping[_Kind, Baseline] = {}
    recent: tuple[TimedAnswer, ...] = ()
    """Oldest first; the last few are judged."""


UNKNOWN_PACE: Final = UsualPace()


def work_tokens(prompt: int, cached: int | None, output: int, *, streamed: bool) -> int:
    """What a provider has to do before the first token of a stream or the end of a whole answer, in prompt tokens.

    What it read from its cache is nearly free.
    """
    return max(0, prompt - (cached or 0)) + (0 if streamed else output * _OUTPUT_WORK)


def after_answer(
    pace: UsualPace, now_s: float, timing: Timing, thresholds: SlownessThresholds = DEFAULT_SLOWNESS
) -> UsualPace:
    """The pace with one more answer in it."""
    size = bisect_right(_SIZES, timing.work_tokens)
    first: _Kind = ("whole" if timing.rest_s is None else "first_token", size)
    parts: tuple[_Duration, ...] = (_part(pace, first, timing.first_byte_s, thresholds.beyond_s, thresholds),)
    if timing.rest_s is not None and timing.rest_bytes > 0:
        kib = timing.rest_bytes / 1024
        parts = (*parts, _part(pace, ("rest", 0), timing.rest_s / kib, thresholds.beyond_s / kib, thresholds))
    recent = (*pace.recent, TimedAnswer(now_s, parts))
    known = pace.baselines.get(first, NO_BASELINE)
    if len(recent) < thresholds.recent + (1 if known.samples < _SETTLED else _BATCH):
        return UsualPace(pace.baselines, recent)
    old: dict[_Kind, list[Sample]] = {}
    for answer in recent[: -thresholds.recent]:
        for part in answer.parts:
            old.setdefault(part.kind, []).append(Sample(answer.at_s, part.seconds, part.slow))
    new = {kind: with_samples(pace.baselines.get(kind, NO_BASELINE), samples) for kind, samples in old.items()}
    return UsualPace({**pace.baselines, **new}, recent[-thresholds.recent :])


def why_slow(pace: UsualPace, thresholds: SlownessThresholds = DEFAULT_SLOWNESS) -> Cause:
    """In what way most of the latest answers were slow; empty if they were not. One slow answer is none."""
    judged = pace.recent[-thresholds.recent :]
    slow = sum(any(part.slow for part in answer.parts) for answer in judged)
    very_slow = sum(any(part.very_slow for part in answer.parts) for answer in judged)
    if slow < thresholds.slow_of_recent and very_slow < thresholds.very_slow_of_recent:
        return ""
    late = sum(answer.parts[0].slow for answer in judged)
    return "SlowFirstByte" if 2 * late >= slow else "SlowStream"


def is_slow_still(pace: UsualPace) -> bool:
    """Whether the last answer of a degraded provider is one more slow one."""
    return bool(pace.recent) and any(part.slow_still for part in pace.recent[-1].parts)


def _part(pace: UsualPace, kind: _Kind, seconds: float, beyond_s: float, thresholds: SlownessThresholds) -> _Duration:
    usual = pace.baselines.get(kind)
    if usual is None or usual.samples < thresholds.min_samples:
        return _Duration(kind, seconds, slow=False, very_slow=False, slow_still=False)
    median_s, least_s = usual.median_s, usual.median_s + beyond_s
    slow = seconds > max(
        median_s * thresholds.times_median,
        min(usual.p95_s * thresholds.times_p95, median_s * thresholds.most_times_median),
        least_s,
    )
    slow_still = seconds > max(
        median_s * thresholds.good_times_median,
        min(usual.p95_s, median_s * thresholds.good_most_times_median),
        least_s,
    )
    return _Duration(kind, seconds, slow, slow and seconds > median_s * thresholds.very_slow_times_median, slow_still)
