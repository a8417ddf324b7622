"""What is known of all heads that begin alike, and how it changes: pure, and the same in a process and in Redis."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from limpet_extproc.memory import PENDING_S
from limpet_extproc.memory.heads import Heads, WarmHead

MOST_ROWS: Final = 64
"""Of a table; beyond it those leave first that came up once, then those that were not used for the longest time."""

MOST_FIRST_TURNS: Final = 255


class HeadRow(msgspec.Struct, frozen=True, gc=False):
    """A head at a provider."""

    hash: bytes
    provider: str
    until_s: float
    pending_s: float = 0.0
    first_turns: int = 0
    """How many were sent with it: the head of one conversation is worth less than that of many."""

    def is_known(self, now_s: float) -> bool:
        """Whether it is warm or on its way."""
        return self.until_s > now_s or (self.pending_s > 0 and self.pending_s + PENDING_S > now_s)


HeadTable = dict[tuple[bytes, str], HeadRow]
"""By hash and provider, the longest unused first."""


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
    """The table after a change, by the rules of `redis.head_script`; the one before is not to be used any more."""
    match change:
        case NoteHeads(hashes, provider, until_s, now_s):
            return table_noted(table, hashes, provider, until_s, now_s)
        case ExpectHeads(hashes, provider, now_s):
            for each in hashes:
                before = table.pop((each, provider), None)
                table[each, provider] = _expected(before or HeadRow(each, provider, 0.0), now_s)
        case DropHeads(hashes, provider):
            for each in hashes:
                before = table.get((each, provider))
                if before is not None and before.until_s:
                    table[each, provider] = replace(before, pending_s=0.0)
                else:
                    table.pop((each, provider), None)
            return table
    return _settled(table, now_s)


def table_noted(table: HeadTable, hashes: Sequence[bytes], provider: str, until_s: float, now_s: float) -> HeadTable:
    """`table_changed` by `NoteHeads`, which every answer brings."""
    for each in hashes:
        key = each, provider
        before = table.pop(key, None)
        if before is None:
            table[key] = HeadRow(each, provider, until_s)
        else:
            later_s = max(before.until_s, until_s)
            table[key] = HeadRow(each, provider, later_s, 0.0, before.first_turns)
    if until_s > now_s and len(table) <= MOST_ROWS:
        return table  # nearly always
    return _settled(table, now_s)


def _settled(table: HeadTable, now_s: float) -> HeadTable:
    """No longer than it may be, and empty if nothing in it is known any more."""
    if not any(row.is_known(now_s) for row in reversed(table.values())):
        return {}
    return table if len(table) <= MOST_ROWS else _bounded(table, now_s)


def _expected(row: HeadRow, now_s: float) -> HeadRow:
    pending_s = row.pending_s if row.is_known(now_s) else now_s
    return HeadRow(row.hash, row.provider, row.until_s, pending_s, min(row.first_turns + 1, MOST_FIRST_TURNS))


def _bounded(rows: HeadTable, now_s: float) -> HeadTable:
    left = {key: row for key, row in rows.items() if row.is_known(now_s)}
    # What later turns noted is as old as it is: what came up once does not keep it from being kept at all.
    leaving = sorted(left, key=lambda key: max(left[key].first_turns, 1))[: max(0, len(left) - MOST_ROWS)]
    for key in leaving:
        del left[key]
    return left


def warm_heads(table: HeadTable, hashes: Sequence[bytes], now_s: float) -> Heads:
    """Where these are known to be."""
    found: dict[bytes, tuple[WarmHead, ...]] = {}
    wanted = frozenset(hashes)
    for row in reversed(table.values()):
        if row.hash in wanted and row.is_known(now_s):
            until_s = row.pending_s + PENDING_S if row.pending_s else row.until_s
            found[row.hash] = (*found.get(row.hash, ()), WarmHead(row.provider, until_s, row.pending_s))
    return found
