"""When a conversation stays with its provider, by OpenRouter's documentation, as a memory.

Source: `OpenRouterTeam/docs: guides/best-practices/prompt-caching.mdx`, "Provider Sticky Routing". A model of published
behaviour, not a measurement of the product:

- with a `session_id` (body or header, else `prompt_cache_key`) any success makes the conversation sticky,
- without one only a request that has read from a cache does,
- ten minutes without use end it, each success restarts them,
- an error does not refresh it, the next request is routed afresh,
- it holds only where reading from the cache is cheaper than the prompt.

The last rule and the lifetime travel in the decision record: a lifetime of zero is forgotten, as for our own memory.
"""

from collections import OrderedDict
from typing import Final

from limpet_extproc.memory import LastFailure, Remembered, ServedTurn, Warm
from limpet_extproc.memory.served import with_warm

IDLE_S: Final = 600.0
"""Ten minutes."""


class StickyAfterHit:
    """A `Memory` that believes a cache read, or a session that the client has named."""

    def __init__(self, max_conversations: int = 50_000) -> None:
        self._max = max_conversations
        self._conversations: OrderedDict[bytes, Remembered] = OrderedDict()
        self._sessions: OrderedDict[bytes, None] = OrderedDict()

    async def lookup(self, key: bytes, now_s: float, *, peek: bool = False) -> Remembered | None:
        """The provider this conversation sticks to, unless it was idle for too long."""
        remembered = self._conversations.get(key)
        if remembered is not None and remembered.warm[0].until_s <= now_s:
            if not peek:
                del self._conversations[key]
            return None
        return remembered

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """The client has named this conversation, so its first success will do."""
        self._sessions[key] = None
        if len(self._sessions) > self._max:
            self._sessions.popitem(last=False)

    def remember(
        self, key: bytes, warm: Warm, max_providers: int, now_s: float, turn: ServedTurn | None = None
    ) -> None:
        """A success: sticky if it read from a cache, if the session has a name, or if it was sticky there before."""
        before = self._conversations.get(key)
        stays = before is not None and before.warm[0].provider == warm.provider
        if not (warm.cached_tokens or key in self._sessions or stays):
            return
        self._conversations[key] = with_warm(None, warm, 1, now_s, turn)
        if len(self._conversations) > self._max:
            self._conversations.popitem(last=False)

    def forget(self, key: bytes, provider: str) -> None:
        """It served, where it does not stick."""
        remembered = self._conversations.get(key)
        if remembered is not None and remembered.warm[0].provider == provider:
            del self._conversations[key]

    def withdraw(self, key: bytes, provider: str) -> None:
        """Nothing was sticky there yet."""

    def note_failure(self, key: bytes, failure: LastFailure) -> None:
        """An error: the next request is routed afresh."""
        for provider in failure.providers:
            self.forget(key, provider)


class NoMemory:
    """A `Memory` of nothing."""

    async def lookup(self, key: bytes, now_s: float, *, peek: bool = False) -> Remembered | None:
        """See `Memory`."""
        return None

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """See `Memory`."""

    def remember(
        self, key: bytes, warm: Warm, max_providers: int, now_s: float, turn: ServedTurn | None = None
    ) -> None:
        """See `Memory`."""

    def forget(self, key: bytes, provider: str) -> None:
        """See `Memory`."""

    def withdraw(self, key: bytes, provider: str) -> None:
        """See `Memory`."""

    def note_failure(self, key: bytes, failure: LastFailure) -> None:
        """See `Memory`."""
