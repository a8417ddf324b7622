"""What outcomes teach about a provider beyond up and down: how often it fails and how long clients wait for it.

Both become a factor on its expected price, in coarse steps, so that a little noise does not scatter new conversations
and replicas that have seen different requests still mostly agree. What nothing confirms fades: a provider with a factor
gets few new conversations that could show that it is well again.
"""

from collections.abc import Mapping
from math import exp2, inf
from typing import Final

import msgspec

_ALPHA: Final = 0.1
"""Weight of the newest outcome: about the last ten count."""

_MIN_SAMPLES: Final = 10
_MIN_TOKENS: Final = 16
"""A shorter answer shows no speed: it may come in one piece."""

_SLOW_TIMES: Final = 3.0
_SLOW_BY_S: Final = 0.5

_ERRORS_HALVE_S: Final = 60.0
"""In so long without an attempt the error rate counts half, and ..."""
_SLOW_FOR_S: Final = 300.0
"""... a provider counts as slow for so long."""


class Learned(msgspec.Struct, frozen=True, gc=False):
    """Moving averages over the attempts at one provider."""

    samples: int = 0
    error_rate: float = 0.0
    first_byte_s: float = 0.0
    tokens_per_s: float = 0.0
    """Output tokens, over the time from the request to the end of the answer; 0: not seen yet.

    The wait for the first byte is part of it: an answer that is not streamed comes at once, after all of its time.
    """
    at_s: float = 0.0
    """When the last attempt ended."""


NOTHING: Final = Learned()


def after_attempt(learned: Learned, failed: bool, first_byte_s: float | None, now_s: float) -> Learned:
    """The averages with one more attempt in them; the time to first byte is None where no byte came."""
    alpha = max(_ALPHA, 1 / (learned.samples + 1))
    error_rate = learned.error_rate + alpha * (float(failed) - learned.error_rate)
    if first_byte_s is None:
        return Learned(learned.samples + 1, error_rate, learned.first_byte_s, learned.tokens_per_s, now_s)
    average_s = learned.first_byte_s or first_byte_s
    first_byte_s = average_s + alpha * (first_byte_s - average_s)
    return Learned(learned.samples + 1, error_rate, first_byte_s, learned.tokens_per_s, now_s)


def after_answer(learned: Learned, tokens: int, seconds: float) -> Learned:
    """The averages with the speed of one more answer in them: `tokens`, `seconds` after the request."""
    if tokens < _MIN_TOKENS or seconds <= 0:
        return learned
    rate = tokens / seconds
    average = learned.tokens_per_s or rate
    return msgspec.structs.replace(learned, tokens_per_s=average + _ALPHA * (rate - average))


def after_return(learned: Learned) -> Learned:
    """The averages of a provider that was out and is back: what it is like now is yet to be seen."""
    return msgspec.structs.replace(learned, samples=0, error_rate=0.0)


def factors(learned: Mapping[str, Learned], now_s: float) -> dict[str, float]:
    """What a dollar counts as, at each provider where that is not 1.

    1 at its best, up to twice that for errors, and half as much again for a wait far beyond the fastest provider's.
    """
    enough = {name: one for name, one in learned.items() if one.samples >= _MIN_SAMPLES}
    fastest_s = min((one.first_byte_s for one in enough.values() if one.first_byte_s > 0), default=inf)
    each = {name: _factor(one, fastest_s, now_s) for name, one in enough.items()}
    return {name: factor for name, factor in each.items() if factor != 1.0}


def _factor(learned: Learned, fastest_s: float, now_s: float) -> float:
    age_s = now_s - learned.at_s
    errors = 1.0 + round(4 * learned.error_rate * exp2(-age_s / _ERRORS_HALVE_S)) / 4
    slow = learned.first_byte_s > _SLOW_TIMES * fastest_s and learned.first_byte_s > fastest_s + _SLOW_BY_S
    return errors * (1.5 if slow and age_s < _SLOW_FOR_S else 1.0)
