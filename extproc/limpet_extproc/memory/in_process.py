"""Memory in one process: a bounded table, oldest use out first. Enough for one worker, several need a shared one."""

from collections import OrderedDict

from limpet_extproc.memory import Remembered, Warm, with_warm, without

PENDING_S = 120.0
"""How long a request without an outcome holds its place: longer than a provider may take for its first byte."""


class InProcessMemory:
    """A `Memory` in this process, about 400 bytes a conversation."""

    def __init__(self, max_conversations: int = 50_000) -> None:
        self._max = max_conversations
        self._known: OrderedDict[bytes, Remembered] = OrderedDict()
        self._pending_since_s: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def lookup(self, key: bytes, now_s: float) -> Remembered | None:
        """See `Memory`."""
        known = self._known.get(key)
        if known is None:
            return None
        if known.pending is not None and now_s - self._pending_since_s.get(key, 0.0) > PENDING_S:
            self._drop(key)
            return None
        if known.warm and all(w.until_s <= now_s for w in known.warm):
            self._drop(key)
        else:
            self._known.move_to_end(key)
        return known

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """See `Memory`."""
        known = self._known.get(key)
        if known is not None and known.warm:
            return
        self._pending_since_s[key] = now_s
        self._store(key, Remembered((), provider))

    def remember(self, key: bytes, warm: Warm, max_providers: int, now_s: float) -> None:
        """See `Memory`."""
        self._pending_since_s.pop(key, None)
        self._store(key, with_warm(self._known.get(key), warm, max_providers, now_s))

    def forget(self, key: bytes, provider: str) -> None:
        """See `Memory`."""
        known = self._known.get(key)
        if known is None:
            return
        left = without(known, provider)
        if left is None:
            self._drop(key)
        else:
            self._known[key] = left

    def _store(self, key: bytes, known: Remembered) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > self._max:
            oldest, _ = self._known.popitem(last=False)
            self._pending_since_s.pop(oldest, None)

    def _drop(self, key: bytes) -> None:
        self._known.pop(key, None)
        self._pending_since_s.pop(key, None)
