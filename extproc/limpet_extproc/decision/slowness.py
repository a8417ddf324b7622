"""Whether a provider has become slow, by how long its answers usually take. Pure.

A streamed answer is measured twice: from the request to its first token, and how fast the rest of it comes. A whole one
is measured once. What is usual depends on how much there was to do, so each size of work has a baseline of its own. An
answer enters it late, so that the answers that are judged are not yet part of it.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.decision.baseline import NO_BASELINE, Baseline, Sample, with_samples

_SIZES: Final = (1_000, 8_000, 32_000, 128_000, 256_000, 512_000, 1_000_000)
"""Bounds of the classes of work, in tokens."""

_REST_SIZES: Final = (1_024, 8_192, 65_536)
"""Bounds of the classes of the rest of a stream, in bytes: the shorter, the more a pause counts for each of them."""

_OUTPUT_WORK: Final = 20
"""Generating a token takes about as long as reading so many of a prompt: tens of tokens a second against thousands."""

_SETTLED: Final = 32
"""Samples after which a baseline changes little by each more, and ..."""
_BATCH: Final = 8
"""... takes in so many at once, as its quantiles cost a pass over all buckets."""


class _Kind(NamedTuple):
    """What a duration is of. The rest of a stream counts for each KiB of it."""

    part: Literal["first_token", "whole", "rest"]
    size: int
    """The class of its work, or of its bytes."""
    known: bool
    """Whether its work is known."""


@dataclass(frozen=True, slots=True)
class SlownessThresholds:
    """What is usual, and what is slow; reasons in decision 0048."""

    min_samples: int = 10
    """Of a baseline, before anything is judged by it."""
    recent: int = 8
    """Answers that are judged together."""
    slow_of_recent: int = 7
    """So many of them were slow: degraded. Or so many in a row were very slow:"""
    very_slow_in_a_row: int = 4
    recent_s: float = 240.0
    """An older one is judged no longer."""
    times_p95: float = 1.5
    times_median: float = 3.0
    beyond_s: float = 0.25
    """An answer is slow if it takes longer than so many p95, than so many medians, and than so much beyond a median."""
    times_median_unknown: float = 10.0
    """The same where its work is not known: a cold prompt may take ten times as long as a warm one."""
    very_slow_times_median: float = 6.0
    good_times_median: float = 2.0
    """An answer of a degraded provider is no longer slow below so many medians, or as far from the p95 as above."""


DEFAULT_SLOWNESS: Final = SlownessThresholds()


class Timing(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How long one answer took."""

    first_byte_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)]
    """From the request to the first token of a stream, or to the end of a whole answer."""
    work_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    """What had to be done until then (`work_tokens`)."""
    rest_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = None
    """From there to the end of a stream; None: it was none."""
    rest_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    known: bool = True
    """Whether `work_tokens` is: False without usage, or without how much was read from the cache."""


class _Duration(msgspec.Struct, frozen=True, gc=False):
    """One duration of an answer, judged by a baseline that has not taken it in yet."""

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
    """The pace with one more answer in it. What no baseline can judge yet enters one at once, the others later."""
    baselines = pace.baselines
    samples: dict[_Kind, list[Sample]] = {}
    parts: list[_Duration] = []
    for kind, seconds, beyond_s in _durations(timing, thresholds):
        usual = baselines.get(kind, NO_BASELINE)
        if usual.samples < thresholds.min_samples:
            samples[kind] = [Sample(now_s, seconds)]
        else:
            parts.append(_judged(kind, seconds, beyond_s, usual, thresholds))
    recent = (*pace.recent, TimedAnswer(now_s, tuple(parts))) if parts else pace.recent
    entering = _entering(recent, now_s, baselines, thresholds)
    if not entering and not samples:
        return UsualPace(baselines, recent)
    mostly_slow: bool | None = None
    for answer in recent[:entering]:
        for part in answer.parts:
            unusual = part.slow
            if unusual:
                # Slow answers among others that are not are part of what is usual.
                if mostly_slow is None:
                    mostly_slow = 2 * sum(any(each.slow for each in one.parts) for one in recent) > len(recent)
                unusual = mostly_slow
            samples.setdefault(part.kind, []).append(Sample(answer.at_s, part.seconds, unusual))
    new = {kind: with_samples(baselines.get(kind, NO_BASELINE), each) for kind, each in samples.items()}
    return UsualPace({**baselines, **new}, recent[entering:])


def why_slow(pace: UsualPace, thresholds: SlownessThresholds = DEFAULT_SLOWNESS) -> Cause:
    """In what way nearly all of the latest answers were slow; empty if they were not. A few slow answers are none.

    The rest of streams is judged apart: other answers may be as fast as ever.
    """
    parts = [part for answer in pace.recent for part in answer.parts]
    if _nearly_all_slow([part for part in parts if part.kind.part != "rest"], thresholds):
        return "SlowFirstByte"
    if _nearly_all_slow([part for part in parts if part.kind.part == "rest"], thresholds):
        return "SlowStream"
    # A slow drip shows in the rest of streams, and in the whole of other answers.
    slow = sum(any(part.slow for part in answer.parts) for answer in pace.recent[-thresholds.recent :])
    return "SlowStream" if slow >= thresholds.slow_of_recent else ""


def _nearly_all_slow(durations: Sequence[_Duration], thresholds: SlownessThresholds) -> bool:
    slow = sum(each.slow for each in durations[-thresholds.recent :])
    very_slow = sum(each.very_slow for each in durations[-thresholds.very_slow_in_a_row :])
    return slow >= thresholds.slow_of_recent or very_slow >= thresholds.very_slow_in_a_row


def is_slow_still(pace: UsualPace, now_s: float) -> bool:
    """Whether the answer that came at `now_s`, of a degraded provider, is one more slow one."""
    if not pace.recent or (last := pace.recent[-1]).at_s != now_s:
        return False
    for part in last.parts:  # noqa: SIM110 - each answer comes here
        if part.slow_still:
            return True
    return False


def _durations(timing: Timing, thresholds: SlownessThresholds) -> list[tuple[_Kind, float, float]]:
    """Each with how much longer than usual it has to be at least, to be slow."""
    size = bisect_right(_SIZES, timing.work_tokens)
    if timing.rest_s is None:
        return [(_Kind("whole", size, timing.known), timing.first_byte_s, thresholds.beyond_s)]
    first = _Kind("first_token", size, timing.known), timing.first_byte_s, thresholds.beyond_s
    if timing.rest_bytes <= 0:
        return [first]
    kib = timing.rest_bytes / 1024
    rest = _Kind("rest", bisect_right(_REST_SIZES, timing.rest_bytes), True)
    return [first, (rest, timing.rest_s / kib, thresholds.beyond_s / kib)]


def _judged(kind: _Kind, seconds: float, beyond_s: float, usual: Baseline, thresholds: SlownessThresholds) -> _Duration:
    median_s, least_s = usual.median_s, usual.median_s + beyond_s
    if seconds <= least_s:  # nearly always
        return _Duration(kind, seconds, False, False, False)
    times_median = thresholds.times_median if kind.known else thresholds.times_median_unknown
    slow = seconds > max(usual.p95_s * thresholds.times_p95, median_s * times_median)
    slow_still = seconds > max(usual.p95_s * thresholds.times_p95, median_s * thresholds.good_times_median)
    very_slow = slow and seconds > median_s * thresholds.very_slow_times_median
    return _Duration(kind, seconds, slow, very_slow, slow_still)


def _entering(
    recent: tuple[TimedAnswer, ...],
    now_s: float,
    baselines: Mapping[_Kind, Baseline],
    thresholds: SlownessThresholds,
) -> int:
    """How many of the oldest are judged no longer, and enter their baselines now."""
    if not recent:
        return 0
    count, entering = len(recent), 0
    # Twice as many, as only some of them may be streams.
    waiting = count - 2 * thresholds.recent
    if waiting > 0 and (waiting >= _BATCH or not _are_settled(recent[-1], baselines)):
        entering = waiting
    old_s = now_s - thresholds.recent_s
    while entering < count and recent[entering].at_s < old_s:
        entering += 1
    return entering


def _are_settled(answer: TimedAnswer, baselines: Mapping[_Kind, Baseline]) -> bool:
    """Whether those of an answer change little by each further sample."""
    for part in answer.parts:  # noqa: SIM110 - each answer comes here
        if baselines[part.kind].samples < _SETTLED:
            return False
    return True
