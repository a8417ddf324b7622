"""A prompt as hashes of its beginnings: how far it is the same as another one. No text is kept.

Boundaries: after the tools, after the system prompt, after each message. A hash covers all before its boundary, so
equal hashes mean equal beginnings. Of more than 64 boundaries some are kept (`prompt_layout.kept_positions`), and after
their hashes it says how many there were.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from limpet_extproc.dialects.prompt_layout import BEFORE_MESSAGES, MOST_KEPT, kept_positions

HASH_BYTES: Final = 4
"""Of a boundary. It is compared with that of one other prompt, of the same conversation: where two are equal by chance,
once in four billion, a turn is taken to have changed later than it did."""
HEAD_HASH_BYTES: Final = 8
"""Of a head, which is looked up among those of all conversations."""
_COUNT_BYTES: Final = 3
"""Of how many there were, little endian."""

_COMPARED: Final = 64
"""Pairs of prompts whose comparison is kept: a decision asks for each of its few several times."""
_COUNTS: Final = 1024
"""The same of pairs of lengths."""

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
    """Four bytes for each boundary that is kept; then, if these are not all, three for their number."""
    tokens: tuple[int, ...]
    """Of the prompt up to each of these, estimated."""
    heads: tuple[PromptHead, ...] = ()
    """Beginnings of any length, the shortest first: up to some boundaries, and at lengths that are the same for all
    prompts, so that a head is found although something changes behind it."""

    def head_hashes(self) -> bytes:
        """Those of the heads, one after the other."""
        return b"".join([head.hash for head in self.heads])


NO_CHAIN: Final = Chain(b"", ())


def packed(digests: Iterable[bytes], count: int) -> bytes:
    """`Chain.hashes`, from the digests of eight bytes that are kept of so many boundaries."""
    hashes = memoryview(b"".join(digests)).cast("I")[::2].tobytes()  # the first half of each
    return hashes + count.to_bytes(_COUNT_BYTES, "little") if count > MOST_KEPT else hashes


@lru_cache(maxsize=_COMPARED)
def shared_boundaries(one: bytes, other: bytes) -> int:
    """How many boundaries of `one`, as kept, are also those of `other`; both as `Chain.hashes`.

    So `Chain.tokens[shared - 1]` are the tokens that they have in common; where boundaries are not kept, at least.
    """
    if one == other:
        return len(one) // HASH_BYTES
    in_one, in_other = _both(boundary_count(one), boundary_count(other))
    shared = _equal(one, other, in_one, in_other)
    return in_one[shared - 1] + 1 if shared else 0


@lru_cache(maxsize=_COMPARED)
def changed_at(one: bytes, other: bytes) -> str:
    """Where the prompt of `one` departs from that of `other`: `tools`, `system` or `message 3`; empty: nowhere.

    A prompt that only is longer than the other one, or shorter, departs nowhere. Of a long one it is the first message
    known to be another one.
    """
    if one == other:
        return ""
    in_one, _ = _both(boundary_count(one), boundary_count(other))
    at = bisect_left(in_one, shared_boundaries(one, other))
    return boundary_name(_places(one)[in_one[at]]) if at < len(in_one) else ""


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


@lru_cache(maxsize=_COUNTS)
def _both(count: int, other_count: int) -> tuple[Sequence[int], Sequence[int]]:
    """Of two prompts with so many boundaries, those that are kept of both, by where they are in the one and the other.

    The same for all prompts as long as these: a conversation asks for it again and again.
    """
    if count <= MOST_KEPT and other_count <= MOST_KEPT:
        same = range(min(count, other_count))
        return same, same
    index_of_other = {at: index for index, at in enumerate(kept_positions(other_count))}
    pairs = [(index, index_of_other[at]) for index, at in enumerate(kept_positions(count)) if at in index_of_other]
    return [index for index, _ in pairs], [index for _, index in pairs]


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
