"""How many tokens the prompts of a model have for each one that is estimated: which tier of a price is expected.

A limit of a price list is one of tokens as the model counts them. Prose has a quarter fewer than are estimated, other
text more, and a model has mostly one kind of either.
"""

from collections.abc import Mapping
from typing import Final

_ALPHA: Final = 0.1
"""Weight of the newest prompt: about the last ten count."""

_LEAST_TOKENS: Final = 1000
"""Shorter prompts show more of what a provider puts around them."""

_MOST: Final = 4.0
"""Nor are text and tokens further apart than that: such a prompt has images, or a count is wrong."""

TokenRates = Mapping[str, float]
"""By model; one that is absent has not been counted."""


def after_prompt(rate: float | None, estimated_tokens: int, counted_tokens: int) -> float | None:
    """The average with one more prompt in it; None: nothing is known yet."""
    if estimated_tokens < _LEAST_TOKENS or not 1 / _MOST <= counted_tokens / estimated_tokens <= _MOST:
        return rate
    newest = counted_tokens / estimated_tokens
    return newest if rate is None else rate + _ALPHA * (newest - rate)
