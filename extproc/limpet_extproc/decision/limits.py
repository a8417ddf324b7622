"""How full a provider is by the limits that its Provider sets. Pure: what it is asked for comes from outside."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from limpet_extproc.contract.catalog import Limits


class Used(msgspec.Struct, frozen=True, gc=False):
    """What a provider is asked for at an instant."""

    under_way: int = 0
    """Requests that have begun and not ended."""
    requests: int = 0
    """Begun within the last minute."""
    tokens: int = 0
    """Of these, prompt and answer together; expected ones until the provider has reported how many they were."""


UNUSED = Used()

UsedAt: TypeAlias = Callable[[str, float], Used]
"""What the provider of this name is asked for at this time."""


def nothing_used(_provider: str, _now_s: float) -> Used:
    """Where nothing is counted, as without limits."""
    return UNUSED


def ratios(limits: Limits, used: Used) -> dict[str, float]:
    """How much of each limit is used, 1 being all, under the names of the Provider's fields."""
    parts = {
        "concurrentRequests": (used.under_way, limits.concurrent_requests),
        "requestsPerMinute": (used.requests, limits.requests_per_minute),
        "tokensPerMinute": (used.tokens, limits.tokens_per_minute),
    }
    return {name: amount / limit for name, (amount, limit) in parts.items() if limit}


def used_most(limits: Limits, used: Used) -> float:
    """How much of its most used limit is used, 1 being all; 0 without limits."""
    return max(ratios(limits, used).values(), default=0.0)


def is_full(limits: Limits, used: Used, tokens: int) -> bool:
    """Whether one more request of that many tokens would exceed a limit.

    Where nothing is used there is room for any: no wait would make more, and how many tokens it takes is a guess.
    """
    if used == UNUSED:
        return False
    under_way, requests, most = limits.concurrent_requests, limits.requests_per_minute, limits.tokens_per_minute
    return bool(
        (under_way and used.under_way >= under_way)
        or (requests and used.requests >= requests)
        or (most and used.tokens + tokens > most)
    )
