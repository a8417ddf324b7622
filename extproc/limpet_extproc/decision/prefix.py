"""A prompt as hashes of its beginnings: how far it is the same as another one. No text is kept.

Boundaries: after the tools, after the system prompt, after each message. A hash covers all before its boundary, so
equal hashes mean equal beginnings.
"""

from typing import Final

import msgspec

HASH_BYTES: Final = 8
TOOLS: Final = 0
SYSTEM: Final = 1
FIRST_MESSAGE: Final = 2
"""Indices of boundaries; message `n`, from 1 on, ends at `n + 1`."""


class Chain(msgspec.Struct, frozen=True, gc=False):
    """The beginnings of a prompt."""

    hashes: bytes
    """Eight bytes for each boundary."""
    tokens: tuple[int, ...]
    """Of the prompt up to each boundary, estimated."""

    def head_hashes(self, most: int) -> tuple[bytes, ...]:
        """Of the first boundaries, the shortest beginning first."""
        return tuple(
            self.hashes[at : at + HASH_BYTES] for at in range(0, min(most * HASH_BYTES, len(self.hashes)), HASH_BYTES)
        )


NO_CHAIN: Final = Chain(b"", ())


def shared_boundaries(one: bytes, other: bytes) -> int:
    """How many boundaries two chains have in common from the beginning on; both as `Chain.hashes`."""
    least = min(len(one), len(other)) // HASH_BYTES
    if one[: least * HASH_BYTES] == other[: least * HASH_BYTES]:
        return least
    low, high = 0, least
    while low < high:  # a hash covers all before it, so equal ones have only equal ones before them
        middle = (low + high + 1) // 2
        at = (middle - 1) * HASH_BYTES
        if one[at : at + HASH_BYTES] == other[at : at + HASH_BYTES]:
            low = middle
        else:
            high = middle - 1
    return low


def boundary_name(index: int) -> str:
    """What ends at a boundary: `tools`, `system` or `message 3`."""
    if index == TOOLS:
        return "tools"
    return "system" if index == SYSTEM else f"message {index - SYSTEM}"
