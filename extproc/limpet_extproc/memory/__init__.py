"""Where conversations are warm: the port that every memory implements, and its values."""

from typing import Protocol

import msgspec


class Warm(msgspec.Struct, frozen=True, gc=False):
    """A provider that has this conversation in its prompt cache."""

    provider: str
    until_s: float
    """Wall clock; the start of the last request that used the cache plus the cache's lifetime."""
    prompt_tokens: int = 0
    """Of that request: what its cache holds since."""
    cached_tokens: int = 0
    """Of these, what it read from its cache."""


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """The memory of one conversation; at least one of the two is set."""

    warm: tuple[Warm, ...] = ()
    """Newest first; the first one is where the conversation sticks, the others are where it was before."""
    pending: str | None = None
    """A provider to which its first request is under way, until an outcome is known."""


class Memory(Protocol):
    """Advisory: a memory that is away returns None and drops changes; it never fails a request."""

    async def lookup(self, key: bytes, now_s: float) -> Remembered | None:
        """A conversation, or None. An expired one is still returned once, so that the reason can name its provider."""

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """A first request is on its way to this provider; the next one follows it even before its outcome."""

    def remember(self, key: bytes, warm: Warm, max_providers: int, now_s: float) -> None:
        """A request succeeded at this provider, which comes first from now on."""

    def forget(self, key: bytes, provider: str) -> None:
        """A request failed at this provider, and no other served it. Does nothing if the conversation is unknown."""


def with_warm(before: Remembered | None, warm: Warm, max_providers: int, now_s: float) -> Remembered:
    """The memory after a success: this provider first, others while they are warm, `max_providers` at most."""
    others = (w for w in before.warm if w.provider != warm.provider and w.until_s > now_s) if before else ()
    return Remembered((warm, *others)[:max_providers])


def without(before: Remembered, provider: str) -> Remembered | None:
    """The memory after a failure there; None when nothing is left."""
    warm = tuple(w for w in before.warm if w.provider != provider)
    pending = None if before.pending == provider else before.pending
    return Remembered(warm, pending) if warm or pending else None
