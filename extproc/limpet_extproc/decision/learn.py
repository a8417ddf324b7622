"""What outcomes teach about a provider beyond up and down: how often it fails. `speed` has how fast its models answer.

It becomes a factor on its expected price, in coarse steps, so that a little noise does not scatter new conversations
and replicas that have seen different requests still mostly agree. What nothing confirms fades: a provider with a factor
gets few new conversations that could show that it is well again.
"""

from collections.abc import Mapping
from math import exp2
from typing import Final

import msgspec

_ALPHA: Final = 0.1
"""Weight of the newest outcome: about the last ten count."""

_MIN_SAMPLES: Final = 10

_ERRORS_HALVE_S: Final = 60.0
"""In so long without an attempt the error rate counts half."""


class Learned(msgspec.Struct, frozen=True, gc=False):
    """Moving averages over the attempts at one provider."""

    samples: int = 0
    error_rate: float = 0.0
    at_s: float = 0.0
    """When the last attempt ended."""


NOTHING: Final = Learned()


def after_attempt(learned: Learned, failed: bool, now_s: float) -> Learned:
    """The averages with one more attempt in them."""
    if not failed and not learned.error_rate:  # nearly always
        return Learned(learned.samples + 1, 0.0, now_s)
    alpha = max(_ALPHA, 1 / (learned.samples + 1))
    return Learned(learned.samples + 1, learned.error_rate + alpha * (float(failed) - learned.error_rate), now_s)


def after_return(learned: Learned) -> Learned:
    """The averages of a provider that was out and is back: what it is like now is yet to be seen."""
    return msgspec.structs.replace(learned, samples=0, error_rate=0.0)


def factors(learned: Mapping[str, Learned], now_s: float) -> dict[str, float]:
    """What a dollar counts as for its errors, at each provider where that is not 1: up to 2."""
    each = {name: _factor(one, now_s) for name, one in learned.items() if one.samples >= _MIN_SAMPLES}
    return {name: factor for name, factor in each.items() if factor != 1.0}


def _factor(learned: Learned, now_s: float) -> float:
    return 1.0 + round(4 * learned.error_rate * exp2((learned.at_s - now_s) / _ERRORS_HALVE_S)) / 4
