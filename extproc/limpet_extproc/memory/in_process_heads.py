"""The heads of prompts in one process: tables with a bounded number of rows; the longest unused ones are dropped."""

from collections import OrderedDict
from collections.abc import Sequence

from limpet_extproc.memory.head_table import (
    DropHeads,
    ExpectHeads,
    HeadChange,
    HeadTable,
    table_changed,
    table_noted,
    warm_heads,
)
from limpet_extproc.memory.heads import NO_HEADS, Heads


class InProcessHeads:
    """A `HeadMemory` in this process, about 200 bytes a row of its tables."""

    def __init__(self, max_rows: int = 100_000) -> None:
        self._max = max_rows
        self._rows = 0
        self._tables: OrderedDict[bytes, HeadTable] = OrderedDict()

    def __len__(self) -> int:
        """How many rows there are."""
        return self._rows

    async def lookup(self, hashes: Sequence[bytes], now_s: float) -> Heads:
        """See `HeadMemory`."""
        table = self._tables.get(hashes[0])
        return NO_HEADS if table is None else warm_heads(table, hashes, now_s)

    def expect(self, hashes: Sequence[bytes], provider: str, now_s: float) -> None:
        """See `HeadMemory`."""
        self._change(ExpectHeads(tuple(hashes), provider, now_s))

    def note(
        self, hashes: Sequence[bytes], provider: str, until_s: float, now_s: float, expected_s: float = 0.0
    ) -> None:
        """See `HeadMemory`."""
        before = self._tables.pop(hashes[0], {})
        rows = len(before)
        self._put(hashes[0], rows, table_noted(before, hashes, provider, until_s, now_s))

    def drop(self, hashes: Sequence[bytes], provider: str) -> None:
        """See `HeadMemory`."""
        self._change(DropHeads(tuple(hashes), provider))

    def _change(self, change: HeadChange) -> None:
        key = change.hashes[0]
        before = self._tables.pop(key, {})
        rows = len(before)
        self._put(key, rows, table_changed(before, change))

    def _put(self, key: bytes, rows: int, table: HeadTable) -> None:
        """In the place of one that had so many rows."""
        self._rows += len(table) - rows
        if table:
            self._tables[key] = table
        while self._rows > self._max:
            _, longest_unused = self._tables.popitem(last=False)
            self._rows -= len(longest_unused)
