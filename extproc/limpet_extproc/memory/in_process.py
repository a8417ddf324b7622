"""Memory in one process: a bounded table that drops the longest unused. Enough for one worker; several share one."""

from collections import OrderedDict

from msgspec.structs import replace

from limpet_extproc.memory import (
    PENDING_S,
    LastFailure,
    Remembered,
    ServedTurn,
    Warm,
    only_pace,
    with_failure,
    withdrawn,
    without,
)
from limpet_extproc.memory.served import with_warm


class InProcessMemory:
    """A `Memory` in this process, about a kilobyte a conversation."""

    def __init__(self, max_conversations: int = 50_000) -> None:
        self._max = max_conversations
        self._conversations: OrderedDict[bytes, Remembered] = OrderedDict()
        self._pending_since_s: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._conversations)

    async def lookup(self, key: bytes, now_s: float, *, peek: bool = False) -> Remembered | None:
        """See `Memory`."""
        conversation = self._conversations.get(key)
        if conversation is None:
            return None
        if not peek:
            self._conversations.move_to_end(key)
        if conversation.warm:
            if not peek and conversation.is_over(now_s):
                self._end(key, conversation)
            return conversation
        if conversation.pending is not None:
            over = now_s - self._pending_since_s.get(key, 0.0) > PENDING_S
        else:
            over = not conversation.failed_lately(now_s)
        if not over:
            return conversation
        return only_pace(conversation) if peek else self._end(key, conversation)

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """See `Memory`."""
        conversation = self._conversations.get(key)
        if conversation is not None and conversation.warm:
            return
        self._pending_since_s[key] = now_s
        self._store(key, replace(conversation or Remembered(), pending=provider))

    def remember(
        self, key: bytes, warm: Warm, max_providers: int, now_s: float, turn: ServedTurn | None = None
    ) -> None:
        """See `Memory`."""
        self._pending_since_s.pop(key, None)
        self._store(key, with_warm(self._conversations.get(key), warm, max_providers, now_s, turn))

    def forget(self, key: bytes, provider: str) -> None:
        """See `Memory`."""
        conversation = self._conversations.get(key)
        if conversation is None:
            return
        self._leave(key, without(conversation, provider))

    def withdraw(self, key: bytes, provider: str) -> None:
        """See `Memory`."""
        conversation = self._conversations.get(key)
        if conversation is not None:
            self._leave(key, withdrawn(conversation, provider))

    def note_failure(self, key: bytes, failure: LastFailure) -> None:
        """See `Memory`."""
        self._store(key, with_failure(self._conversations.get(key), failure))

    def _leave(self, key: bytes, rest: Remembered | None) -> None:
        """What is left of it, at its place."""
        if rest is None:
            self._drop(key)
        else:
            self._conversations[key] = rest

    def _store(self, key: bytes, conversation: Remembered) -> None:
        self._conversations[key] = conversation
        self._conversations.move_to_end(key)
        if len(self._conversations) > self._max:
            oldest, _ = self._conversations.popitem(last=False)
            self._pending_since_s.pop(oldest, None)

    def _end(self, key: bytes, conversation: Remembered) -> Remembered | None:
        """It is over, and what is left of it."""
        left = only_pace(conversation)
        if left is None:
            self._drop(key)
        else:
            self._pending_since_s.pop(key, None)
            self._conversations[key] = left
        return left

    def _drop(self, key: bytes) -> None:
        self._conversations.pop(key, None)
        self._pending_since_s.pop(key, None)
