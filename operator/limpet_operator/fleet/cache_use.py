"""What a provider's prompt cache did, as seen by several workers. Pure; joined values can be joined again."""

from limpet_extproc.contract.catalog import CacheUse
from limpet_extproc.contract.warm_sketch import warm_conversations


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
    """About how many are warm."""
    return warm_conversations(use.warm)
