"""A prompt as hashes of its beginnings: how far it is the same as another one. No text is kept.

Boundaries: after the tools, after the system prompt, after each message. A hash covers all before its boundary, so
equal hashes mean equal beginnings. Of more than 64 boundaries some are kept (`prompt_layout.kept_positions`), and after
their hashes it says how many there were.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_extproc.dialects.prompt_layout import BEFORE_MESSAGES, MOST_KEPT, kept_positions

HASH_BYTES: Final = 8
_COUNT_BYTES: Final = 4
"""Of how many there were, little endian."""

TOOLS: Final = 0
SYSTEM: Final = 1
FIRST_MESSAGE: Final = BEFORE_MESSAGES
"""Indices of boundaries; message `n`, from 1 on, ends at `n + 1`."""


class PromptHead(msgspec.Struct, frozen=True, gc=False):
    """A beginning of a prompt that other conversations may have too."""

    hash: bytes
    """Eight bytes."""
    tokens: int
    """Estimated."""
    marked: bool
    """Whether it ends at a breakpoint of the client: a cache that keeps only what is marked keeps no other."""


class Chain(msgspec.Struct, frozen=True, gc=False):
    """The beginnings of a prompt."""

    hashes: bytes
    """Eight bytes for each boundary that is kept; then, if these are not all, four for their number."""
    tokens: tuple[int, ...]
    """Of the prompt up to each of these, estimated."""
    heads: tuple[PromptHead, ...] = ()
    """Beginnings of any length, the shortest first: up to some boundaries, and at lengths that are the same for all
    prompts, so that a head is found although something changes behind it."""

    def head_hashes(self) -> bytes:
        """Those of the heads, one after the other."""
        return b"".join([head.hash for head in self.heads])


NO_CHAIN: Final = Chain(b"", ())


def with_count(hashes: bytes, count: int) -> bytes:
    """`Chain.hashes`, from the hashes that are kept of so many boundaries."""
    return hashes + count.to_bytes(_COUNT_BYTES, "little") if count > MOST_KEPT else hashes


def shared_boundaries(one: bytes, other: bytes) -> int:
    """How many boundaries of `one`, as kept, are also those of `other`; both as `Chain.hashes`.

    So `Chain.tokens[shared - 1]` are the tokens that they have in common; where boundaries are not kept, at least.
    """
    places, others = _places(one), _places(other)
    if len(places) <= MOST_KEPT and isinstance(places, range) and isinstance(others, range):
        return _equal(one, other, range(min(len(places), len(others))), range(len(places)))
    index_of_other = {at: index for index, at in enumerate(others)}
    pairs = [(index, index_of_other[at]) for index, at in enumerate(places) if at in index_of_other]
    shared = _equal(one, other, [index for index, _ in pairs], [index for _, index in pairs])
    return pairs[shared - 1][0] + 1 if shared else 0


def changed_at(one: bytes, other: bytes) -> str:
    """Where the prompt of `one` departs from that of `other`: `tools`, `system` or `message 3`; empty: nowhere.

    A prompt that only is longer than the other one, or shorter, departs nowhere. Of a long one it is the first message
    known to be another one.
    """
    shared = shared_boundaries(one, other)
    others = frozenset(_places(other))
    index = next((at for at in _places(one)[shared:] if at in others), None)
    return "" if index is None else boundary_name(index)


def boundary_name(index: int) -> str:
    """What ends at a boundary: `tools`, `system` or `message 3`; `index` counts all, kept or not."""
    if index == TOOLS:
        return "tools"
    return "system" if index == SYSTEM else f"message {index - SYSTEM}"


def boundary_count(hashes: bytes) -> int:
    """How many boundaries a prompt has, kept or not; `hashes` as `Chain.hashes`."""
    kept, more = divmod(len(hashes), HASH_BYTES)
    return int.from_bytes(hashes[-_COUNT_BYTES:], "little") if more else kept


def _places(hashes: bytes) -> Sequence[int]:
    """Which boundaries they belong to."""
    return kept_positions(boundary_count(hashes))


def _equal(one: bytes, other: bytes, in_one: Sequence[int], in_other: Sequence[int]) -> int:
    """How many of these hashes are equal, from the first on."""
    low, high = 0, len(in_one)
    while low < high:  # a hash covers all before it, so equal ones have only equal ones before them
        middle = (low + high + 1) // 2
        at, other_at = in_one[middle - 1] * HASH_BYTES, in_other[middle - 1] * HASH_BYTES
        if one[at : at + HASH_BYTES] == other[other_at : other_at + HASH_BYTES]:
            low = middle
        else:
            high = middle - 1
    return low
