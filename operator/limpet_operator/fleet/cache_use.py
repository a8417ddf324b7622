"""What a provider's prompt cache did, as seen by several workers. Pure; joined values can be joined again."""

from math import log
from typing import Final

from limpet_extproc.contract.catalog import SKETCH_REGISTERS, CacheUse

_FEW: Final = 2.5 * SKETCH_REGISTERS
"""Below this estimate, counting empty registers is more exact."""
_BIAS: Final = 0.7213 / (1 + 1.079 / SKETCH_REGISTERS)


def joined(one: CacheUse, other: CacheUse) -> CacheUse:
    """Their tokens together, and the conversations of either."""
    return CacheUse(
        one.prompt_tokens + other.prompt_tokens,
        one.cached_tokens + other.cached_tokens,
        bytes(map(max, one.warm, other.warm)) if one.warm and other.warm else one.warm or other.warm,
    )


def hit_percent(use: CacheUse) -> int | None:
    """Share of the prompt tokens that were read from the cache; None: there were no tokens."""
    return round(100 * use.cached_tokens / use.prompt_tokens) if use.prompt_tokens else None


def conversations(use: CacheUse) -> int:
    """About how many are warm; two digits from a hundred on, as the sketch is no more exact than that.

    The estimate of HyperLogLog, by Flajolet and others, 2007.
    """
    if not use.warm:
        return 0
    estimate = _BIAS * SKETCH_REGISTERS**2 / sum(2.0**-rank for rank in use.warm)
    empty = use.warm.count(0)
    if empty and estimate <= _FEW:
        estimate = SKETCH_REGISTERS * log(SKETCH_REGISTERS / empty)
    return round(estimate) if estimate < 100 else int(float(f"{estimate:.2g}"))
