"""The heads of prompts that all workers of an installation share, in Redis beside the conversations.

The turns of a conversation bring the same news again and again. What would change little is not written, except what
ends a wait: a head that was said to be on its way is noted whatever is known of it here, as Redis may have lost it.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import reduce
from typing import Final

from limpet_extproc.memory.head_table import DropHeads, ExpectHeads, HeadTable, NoteHeads, table_changed, warm_heads
from limpet_extproc.memory.heads import NO_HEADS, Heads
from limpet_extproc.memory.redis.changes import MemoryChange
from limpet_extproc.memory.redis.errors import MemoryLog, RedisError
from limpet_extproc.memory.redis.layout import HEADS, decode_heads
from limpet_extproc.memory.redis.short_names import ShortNames

STALE_SHARE: Final = 0.2
"""By which part of its lifetime what is written may be behind what is known."""

MOST_STALE_S: Final = 60.0
"""The most of that: Redis may have lost what was written, or never had it."""

_MOST_NOTED: Final = 100_000
"""Heads at providers of which it is known here what was written."""
_NEVER: Final = (0.0, 0.0)


class RedisHeads:
    """A `HeadMemory` in Redis; `redis_memory.RedisMemory` opens it."""

    def __init__(
        self,
        value: Callable[[bytes], Awaitable[tuple[bytes | None, Sequence[MemoryChange]]]],
        write: Callable[[bytes, MemoryChange], None],
        names: ShortNames,
        memory_log: MemoryLog,
    ) -> None:
        self._value = value
        self._write = write
        self._names = names
        self._log = memory_log
        self._noted: OrderedDict[tuple[bytes, str], tuple[float, float]] = OrderedDict()
        """Until when each is kept by what was written, and when that was."""

    async def lookup(self, hashes: Sequence[bytes], now_s: float) -> Heads:
        """See `HeadMemory`."""
        try:
            value, unwritten = await self._value(HEADS + hashes[0])
        except RedisError as error:
            self._log.count("lookup", error.reason)
            return NO_HEADS
        table: HeadTable | None = {} if value is None else decode_heads(value, self._names)
        if table is None:
            self._log.count("lookup", "version")
            table = {}
        changes = (each for each in unwritten if isinstance(each, ExpectHeads | NoteHeads | DropHeads))
        return warm_heads(reduce(table_changed, changes, table), hashes, now_s)

    def expect(self, hashes: Sequence[bytes], provider: str, now_s: float) -> None:
        """See `HeadMemory`."""
        self._write(HEADS + hashes[0], ExpectHeads(tuple(hashes), provider, now_s))

    def note(
        self, hashes: Sequence[bytes], provider: str, until_s: float, now_s: float, expected_s: float = 0.0
    ) -> None:
        """See `HeadMemory`."""
        least_s = until_s - min(STALE_SHARE * (until_s - now_s), MOST_STALE_S)
        news = []
        for each in hashes:
            kept_s, written_s = self._noted.get((each, provider), _NEVER)
            if kept_s < least_s or written_s < expected_s:
                news.append(each)
        if not news:
            return
        for each in news:
            self._noted[each, provider] = (until_s, now_s)
            self._noted.move_to_end((each, provider))
        while len(self._noted) > _MOST_NOTED:
            self._noted.popitem(last=False)
        self._write(HEADS + hashes[0], NoteHeads(tuple(news), provider, until_s, now_s))

    def drop(self, hashes: Sequence[bytes], provider: str) -> None:
        """See `HeadMemory`."""
        self._write(HEADS + hashes[0], DropHeads(tuple(hashes), provider))
