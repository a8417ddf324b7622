"""Where the heads of prompts are warm, whosever conversation brought them there: the port, and its values."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import msgspec


class WarmHead(msgspec.Struct, frozen=True, gc=False):
    """A provider that has a head in its prompt cache, or will have it in a moment."""

    provider: str
    until_s: float
    """Wall clock."""
    pending_s: float = 0.0
    """When the first request with it began, while that is under way; 0: it has been answered."""


Heads = Mapping[bytes, tuple[WarmHead, ...]]
"""By hash (`decision.prefix`), the warm places of each that has any."""

NO_HEADS: Final[Heads] = MappingProxyType({})


class HeadMemory(Protocol):
    """Bounded and advisory, like `Memory`. Keys tell nothing of a text and are the tenant's own."""

    async def lookup(self, hashes: Sequence[bytes], now_s: float) -> Heads:
        """Where these are warm, or on their way."""

    def expect(self, hashes: Sequence[bytes], provider: str, now_s: float) -> None:
        """A first request with these heads is on its way to this provider."""

    def note(self, hashes: Sequence[bytes], head: WarmHead) -> None:
        """A request with these heads was answered by this provider."""

    def drop(self, hashes: Sequence[bytes], provider: str) -> None:
        """A provider did not have them after all, or its request failed."""
