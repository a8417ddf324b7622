"""Where conversations are warm: the port that every memory implements, and its values."""

from collections.abc import Collection
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

FAILED_S: Final = 60.0
"""How long a conversation avoids the providers that failed its last request: long enough for a person to try again, and
for failures that go on to show in the provider's own health."""

PENDING_S: Final = 120.0
"""How long a request without an outcome counts as under way: longer than a provider may take for its first byte."""

SETTINGS_BYTES: Final = 2
"""Of `Warm.settings`: enough to tell two of them apart, and too few to tell what they are."""


class Warm(msgspec.Struct, frozen=True, gc=False):
    """A provider that has this conversation in its prompt cache."""

    provider: str
    until_s: float
    """Wall clock; the start of the last request that used the cache plus the cache's lifetime."""
    prompt_tokens: int = 0
    """Of that request."""
    cached_tokens: int = 0
    """Of these, what its cache holds since, by what it reported to have read and written; 0: it did not, so all."""
    chain: bytes = b""
    """Of that prompt (`decision.prefix.Chain.hashes`)."""
    settings: bytes = b""
    """Of all else that the request asked for, a hash (`request.settings_hash`); empty: unknown."""


class ConversationPace(msgspec.Struct, frozen=True, gc=False):
    """How a conversation has gone on so far, from which its further turns are guessed."""

    turns: int = 0
    """That were served."""
    last_s: float = 0.0
    """Wall clock at the start of the last one."""
    gap_s: float = 0.0
    """From the start of a turn to that of the next, on average; 0: there was one turn."""
    prompt_tokens: int = 0
    """Of the last one."""
    growth_tokens: float = 0.0
    """By which the prompt grows from turn to turn, on average."""
    output_tokens: float = 0.0
    """Of an answer, on average."""
    head_tokens: int = 0
    """What the first turn read from a cache: the beginning that other conversations had brought there."""


class LastFailure(msgspec.Struct, frozen=True, gc=False):
    """A request of a conversation that no provider served."""

    providers: tuple[str, ...]
    """Those that failed it; none of them is among the warm ones."""
    at_s: float
    """When its outcome became known."""


class ServedTurn(msgspec.Struct, frozen=True, gc=False):
    """A turn that was served, as memory takes it."""

    started_s: float
    prompt_tokens: int
    output_tokens: int
    cause: str = ""
    """What became of its read from the cache (`decision.cause`), with the detail; empty: no cache had a part in it."""
    cached_tokens: int = 0
    """Of the prompt, read from the cache."""


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """The memory of one conversation; at least one of the first three is set, or it has had turns."""

    warm: tuple[Warm, ...] = ()
    """Newest first; the first one is where the conversation sticks, the others are where it was before."""
    pending: str | None = None
    """A provider to which its first request is under way, until an outcome is known."""
    failure: LastFailure | None = None
    """Its last failure, until a request succeeds; counts for `FAILED_S`."""
    pace: ConversationPace = ConversationPace()
    cause: str = ""
    """That of its last turn."""

    def is_over(self, now_s: float) -> bool:
        """Whether it was warm, and is so nowhere any more."""
        for place in self.warm:
            if place.until_s > now_s:
                return False
        return bool(self.warm)

    def failed_lately(self, now_s: float) -> tuple[str, ...]:
        """The providers that failed its last request, if that was less than `FAILED_S` ago."""
        return self.failure.providers if self.failure and now_s - self.failure.at_s < FAILED_S else ()


class Memory(Protocol):
    """Advisory: a memory that is away returns None and drops changes; it never fails a request."""

    async def lookup(self, key: bytes, now_s: float, *, peek: bool = False) -> Remembered | None:
        """A conversation, or None.

        One that is warm nowhere any more is still returned once, so that the reason can name its provider; after that
        only its pace is. `peek` changes nothing: what is returned once will be returned again.
        """

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """A first request is on its way to this provider; the next one follows it even before its outcome."""

    def remember(
        self, key: bytes, warm: Warm, max_providers: int, now_s: float, turn: ServedTurn | None = None
    ) -> None:
        """A request succeeded at this provider, which comes first from now on. None: nothing is learned of a turn."""

    def forget(self, key: bytes, provider: str) -> None:
        """A request succeeded at this provider, where staying does not pay. Does nothing if nothing is known of it."""

    def withdraw(self, key: bytes, provider: str) -> None:
        """The first request that was on its way to this provider ended without an answer that counts."""

    def note_failure(self, key: bytes, failure: LastFailure) -> None:
        """A request failed, and is not remembered anywhere: these providers are not warm any more, but avoided."""


def without(before: Remembered, provider: str) -> Remembered | None:
    """The memory without this provider; None when nothing is left."""
    left = _warm_without(before, (provider,))
    failure = before.failure
    if failure is not None and provider in failure.providers:
        others = tuple(name for name in failure.providers if name != provider)
        failure = LastFailure(others, failure.at_s) if others else None
    return replace(left, failure=failure) if left.warm or left.pending or failure or left.pace.turns else None


def withdrawn(before: Remembered, provider: str) -> Remembered | None:
    """The memory without a first request on its way there; None when nothing is left."""
    if before.pending != provider:
        return before
    left = replace(before, pending=None)
    return left if left.warm or left.failure or left.pace.turns else None


def with_failure(before: Remembered | None, failure: LastFailure) -> Remembered:
    """The memory after a failure: only the last one counts."""
    return replace(_warm_without(before or Remembered(), failure.providers), failure=failure)


def only_pace(before: Remembered) -> Remembered | None:
    """What is left of a conversation that is over; None: nothing."""
    return Remembered(pace=before.pace, cause=before.cause) if before.pace.turns else None


def _warm_without(before: Remembered, providers: Collection[str]) -> Remembered:
    warm = tuple(w for w in before.warm if w.provider not in providers)
    return replace(before, warm=warm, pending=None if before.pending in providers else before.pending)
