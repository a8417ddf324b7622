"""Where conversations are warm: the port that every memory implements, and what it holds."""

from typing import Protocol

import msgspec


class Warm(msgspec.Struct, frozen=True, gc=False):
    """A provider that has this conversation in its prompt cache."""

    provider: str
    until_s: float
    """Wall clock; the start of the last request that used the cache plus the cache's lifetime."""
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """What is known of one conversation. Not empty: one of the two is always there."""

    warm: tuple[Warm, ...] = ()
    """Newest first; the first one is where the conversation sticks."""
    pending: str | None = None
    """A provider that a request of this conversation is under way to, as long as nothing better is known."""


class Memory(Protocol):
    """Advisory: a memory that is away answers None and takes what it is told in silence; it never fails a request."""

    async def lookup(self, key: bytes, now_s: float) -> Remembered | None:
        """What is known of a conversation, or None. An expired entry is still shown once, so that it can be named."""

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """A first request of the conversation is on its way there; the next one follows even before its outcome."""

    def remember(self, key: bytes, warm: Warm, max_providers: int, now_s: float) -> None:
        """A request succeeded there. Refreshes what is known of that provider and puts it first."""

    def forget(self, key: bytes, provider: str) -> None:
        """A request failed there. Does nothing if nothing is known."""


def with_warm(known: Remembered | None, warm: Warm, max_providers: int, now_s: float) -> Remembered:
    """The memory after a success: this provider first, others while they are warm, `max_providers` at most."""
    others = (w for w in known.warm if w.provider != warm.provider and w.until_s > now_s) if known else ()
    return Remembered((warm, *others)[:max_providers])


def without(known: Remembered, provider: str) -> Remembered | None:
    """The memory after a failure there; None when nothing is left."""
    warm = tuple(w for w in known.warm if w.provider != provider)
    pending = None if known.pending == provider else known.pending
    return Remembered(warm, pending) if warm or pending else None
