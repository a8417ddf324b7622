"""Where the heads of prompts are warm, whosever conversation brought them there: the port, and its values.

The heads of one prompt are told together, the shortest first. It stands for all that begin with it: what is known of
these is kept in one table, which is read and written as a whole.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import msgspec


class WarmHead(msgspec.Struct, frozen=True, gc=False):
    """A provider that has a head in its prompt cache, or will have it in a moment."""

    provider: str
    until_s: float
    """Wall clock; of one that is on its way: until when its arrival is waited for."""
    pending_s: float = 0.0
    """When the first request with it began, while that is under way; 0: it has been answered."""


Heads = Mapping[bytes, tuple[WarmHead, ...]]
"""By hash (`decision.prefix`), the warm places of each that has any, the newest first."""

NO_HEADS: Final[Heads] = MappingProxyType({})


class HeadMemory(Protocol):
    """Bounded and advisory, like `Memory`. Keys tell nothing of a text and are the tenant's own.

    `hashes` are those of the heads of one prompt, the shortest first, or some of them; that one is always there.
    """

    async def lookup(self, hashes: Sequence[bytes], now_s: float) -> Heads:
        """Where these are warm, or on their way."""

    def expect(self, hashes: Sequence[bytes], provider: str, now_s: float) -> None:
        """A first request with these heads is on its way to this provider."""

    def note(
        self, hashes: Sequence[bytes], provider: str, until_s: float, now_s: float, expected_s: float = 0.0
    ) -> None:
        """A request with these heads was answered by this provider, whose cache keeps them for so long.

        `expected_s`: when it was said to be on its way; 0: it was not.
        """

    def drop(self, hashes: Sequence[bytes], provider: str) -> None:
        """A request with these heads was not served by this provider: what was only on its way is not any more."""
