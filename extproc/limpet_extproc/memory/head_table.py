"""What is known of all heads that begin alike, and how it changes: pure, and the same in a process and in Redis."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from limpet_extproc.memory.heads import Heads, WarmHead
from limpet_extproc.memory.in_process import PENDING_S

MOST_ROWS: Final = 64
"""Of a table; beyond it those leave first that came up once, then those that were not used for the longest time."""

MOST_NOTES: Final = 255


class HeadRow(msgspec.Struct, frozen=True, gc=False):
    """A head at a provider."""

    hash: bytes
    provider: str
    until_s: float
    pending_s: float = 0.0
    notes: int = 0
    """How often it was noted: the head of one conversation is worth less than that of many."""

    def is_known(self, now_s: float) -> bool:
        """Whether it is warm or on its way."""
        return self.until_s > now_s or (self.pending_s > 0 and self.pending_s + PENDING_S > now_s)


HeadTable = tuple[HeadRow, ...]
"""The longest unused first."""


class ExpectHeads(msgspec.Struct, frozen=True, gc=False):
    """See `HeadMemory.expect`."""

    hashes: tuple[bytes, ...]
    provider: str
    now_s: float


class NoteHeads(msgspec.Struct, frozen=True, gc=False):
    """See `HeadMemory.note`."""

    hashes: tuple[bytes, ...]
    provider: str
    until_s: float
    now_s: float


class DropHeads(msgspec.Struct, frozen=True, gc=False):
    """See `HeadMemory.drop`."""

    hashes: tuple[bytes, ...]
    provider: str


HeadChange = ExpectHeads | NoteHeads | DropHeads


def table_changed(table: HeadTable, change: HeadChange) -> HeadTable:
    """The table after a change, by the rules of `redis.head_script`."""
    rows = list(table)
    for each in change.hashes:
        at = next((at for at, row in enumerate(rows) if row.hash == each and row.provider == change.provider), None)
        before = HeadRow(each, change.provider, 0.0) if at is None else rows.pop(at)
        match change:
            case ExpectHeads(now_s=now_s):
                rows.append(before if before.is_known(now_s) else replace(before, pending_s=now_s))
            case NoteHeads(until_s=until_s):
                notes = min(before.notes + 1, MOST_NOTES)
                rows.append(replace(before, until_s=max(before.until_s, until_s), pending_s=0.0, notes=notes))
            case DropHeads():
                rows += (replace(before, pending_s=0.0),) if before.until_s else ()
    if not isinstance(change, DropHeads):
        rows = [row for row in rows if row.is_known(change.now_s)]
    while len(rows) > MOST_ROWS:
        rows.remove(min(rows, key=lambda row: max(row.notes, 1)))
    return tuple(rows)


def warm_heads(table: HeadTable, hashes: Sequence[bytes], now_s: float) -> Heads:
    """Where these are known to be."""
    found: dict[bytes, tuple[WarmHead, ...]] = {}
    wanted = frozenset(hashes)
    for row in reversed(table):
        if row.hash in wanted and row.is_known(now_s):
            until_s = row.pending_s + PENDING_S if row.pending_s else row.until_s
            found[row.hash] = (*found.get(row.hash, ()), WarmHead(row.provider, until_s, row.pending_s))
    return found
