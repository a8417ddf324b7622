"""The heads of prompts in one process: a bounded number of tables, of which the longest unused are dropped."""

from collections import OrderedDict
from collections.abc import Sequence

from limpet_extproc.memory.head_table import (
    DropHeads,
    ExpectHeads,
    HeadChange,
    HeadTable,
    NoteHeads,
    table_changed,
    warm_heads,
)
from limpet_extproc.memory.heads import NO_HEADS, Heads


class InProcessHeads:
    """A `HeadMemory` in this process, about a kilobyte a table."""

    def __init__(self, max_tables: int = 10_000) -> None:
        self._max = max_tables
        self._tables: OrderedDict[bytes, HeadTable] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tables)

    async def lookup(self, hashes: Sequence[bytes], now_s: float) -> Heads:
        """See `HeadMemory`."""
        table = self._tables.get(hashes[0])
        return NO_HEADS if table is None else warm_heads(table, hashes, now_s)

    def expect(self, hashes: Sequence[bytes], provider: str, now_s: float) -> None:
        """See `HeadMemory`."""
        self._change(ExpectHeads(tuple(hashes), provider, now_s))

    def note(self, hashes: Sequence[bytes], provider: str, until_s: float, now_s: float) -> None:
        """See `HeadMemory`."""
        self._change(NoteHeads(tuple(hashes), provider, until_s, now_s))

    def drop(self, hashes: Sequence[bytes], provider: str) -> None:
        """See `HeadMemory`."""
        self._change(DropHeads(tuple(hashes), provider))

    def _change(self, change: HeadChange) -> None:
        key = change.hashes[0]
        table = table_changed(self._tables.get(key, {}), change)
        if not table:
            self._tables.pop(key, None)
            return
        self._tables[key] = table
        self._tables.move_to_end(key)
        if len(self._tables) > self._max:
            self._tables.popitem(last=False)
