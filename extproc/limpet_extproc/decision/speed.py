"""How fast a model at a provider answers: what `sort` by latency and throughput goes by, and what adds to its price.

Averages over live answers, of one model each, as a large model of a fast provider is slower than a small one of a slow
provider. What nothing confirms fades, or a provider that was slow once would never be asked again.
"""

from collections.abc import Mapping
from math import exp2, inf
from typing import Final, NamedTuple

import msgspec

_ALPHA: Final = 0.1
"""Weight of the newest answer: about the last ten count."""

_MIN_SAMPLES: Final = 10
_MIN_TOKENS: Final = 16
"""A shorter answer shows no speed: it may come in one piece."""

_SLOW_TIMES: Final = 3.0
_SLOW_BY_S: Final = 0.5
_SLOW_FACTOR: Final = 1.5
_SLOW_FOR_S: Final = 300.0
"""Without an answer a model counts as slow for so long."""

_TRIED: Final = 3
"""Answers after which a model whose speed is still unknown does not come first any more: they do not show it."""
_FADES_S: Final = 3600.0
"""After so long without an answer a speed counts twice: one that is half as fast as the best is asked once an hour."""


class AnswerSpeed(msgspec.Struct, frozen=True, gc=False):
    """Moving averages over the answers of one model at one provider."""

    answers: int = 0
    """Since it was last out."""
    first_token_s: float = 0.0
    """From the request on; 0: not seen yet. Of whole answers, which come at their end, only until one is streamed."""
    streamed: bool = False
    """Whether that is of streams."""
    tokens_per_s: float = 0.0
    """Output tokens, over the time from the request to the end of the answer; 0: not seen yet.

    The wait for the first token is part of it: an answer that is not streamed comes at once, after all of its time.
    """
    at_s: float = 0.0
    """When the last answer ended."""


UNSEEN: Final = AnswerSpeed()
SpeedOf = Mapping[str, AnswerSpeed]
"""Of one model, by provider."""


def after_first_token(speed: AnswerSpeed, seconds: float | None, now_s: float, *, streamed: bool) -> AnswerSpeed:
    """The averages with one more answer in them, that began after so many seconds; None: not measured."""
    answers = speed.answers + 1
    if seconds is None or (speed.streamed and not streamed):
        return msgspec.structs.replace(speed, answers=answers, at_s=now_s)
    known = speed.first_token_s if speed.streamed == streamed else 0.0
    average_s = known + max(_ALPHA, 1 / answers) * (seconds - known) if known else seconds
    return AnswerSpeed(answers, average_s, streamed, speed.tokens_per_s, now_s)


def after_output(speed: AnswerSpeed, tokens: int, seconds: float) -> AnswerSpeed:
    """The averages with the speed of one more answer in them: `tokens`, `seconds` after the request."""
    if tokens < _MIN_TOKENS or seconds <= 0:
        return speed
    rate = tokens / seconds
    average = speed.tokens_per_s or rate
    average += _ALPHA * (rate - average)
    return AnswerSpeed(speed.answers, speed.first_token_s, speed.streamed, average, speed.at_s)


def after_outage(speed: AnswerSpeed) -> AnswerSpeed:
    """Those of a provider that was out and is back: what it is like now is yet to be seen."""
    return msgspec.structs.replace(speed, answers=0)


def slow_factors(speeds: SpeedOf, now_s: float) -> dict[str, float]:
    """What a dollar counts as for this model, at each provider where it comes far later than at the fastest one."""
    enough = {name: one for name, one in speeds.items() if one.answers >= _MIN_SAMPLES and one.first_token_s > 0}
    fastest_s = min((one.first_token_s for one in enough.values()), default=inf)
    late_s = max(_SLOW_TIMES * fastest_s, fastest_s + _SLOW_BY_S)
    return {
        name: _SLOW_FACTOR
        for name, one in enough.items()
        if one.first_token_s > late_s and now_s - one.at_s < _SLOW_FOR_S
    }


class SpeedRank(NamedTuple):
    """Where a provider stands by speed: the lower, the sooner."""

    group: int
    """0: not known yet, so that it is asked; 1: known; 2: asked often enough, and still not known."""
    value: float


def by_latency(speed: AnswerSpeed, now_s: float) -> SpeedRank:
    """The time to the first token."""
    return _rank(speed, speed.first_token_s / _faded(speed, now_s), known=speed.first_token_s > 0)


def by_throughput(speed: AnswerSpeed, now_s: float) -> SpeedRank:
    """Output tokens a second."""
    return _rank(speed, -speed.tokens_per_s * _faded(speed, now_s), known=speed.tokens_per_s > 0)


def _rank(speed: AnswerSpeed, value: float, *, known: bool) -> SpeedRank:
    if known:
        return SpeedRank(1, value)
    return SpeedRank(0 if speed.answers < _TRIED else 2, 0.0)


def _faded(speed: AnswerSpeed, now_s: float) -> float:
    return exp2(min(max(0.0, now_s - speed.at_s) / _FADES_S, 64.0))
