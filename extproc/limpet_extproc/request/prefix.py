"""The chain of a prompt: one pass of a hash over its bytes as the client wrote them, without the marks for caches."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from xxhash import xxh3_64

from limpet_extproc.decision.prefix import FIRST_MESSAGE, NO_CHAIN, Chain, PromptHead, with_count
from limpet_extproc.decision.price import BYTES_PER_TOKEN
from limpet_extproc.dialects.port import PromptLayout
from limpet_extproc.dialects.spans import Span
from limpet_extproc.request.size import text_bytes

MOST_BYTES: Final = 1 << 24
"""Of a body that is hashed: four times what a million tokens take."""

LEAST_HEAD_BYTES: Final = 4096
"""About 1,024 tokens: hardly a vendor caches a shorter prompt."""

_DOUBLINGS: Final = 10
HEAD_LENGTHS: Final = tuple(
    length << doubling for doubling in range(_DOUBLINGS) for length in (LEAST_HEAD_BYTES, LEAST_HEAD_BYTES * 3 // 2)
)
"""Bytes after which a head ends whatever stands there, so that it is found although something changes behind it: of
what two prompts share, at least two thirds. Others end with the tools, the system prompt and the first message."""

_PART: Final = b"\0"
"""Stands before each part, so that tools are not taken for a system prompt."""


def chain_of(body: bytes | memoryview, layout: PromptLayout, seed: bytes, *, attached: bool) -> Chain:
    """The chain of the prompt that stands so in `body`.

    `seed` is a secret for the tenant, the model and the API: without it nobody can find out whether a hash is that of a
    text, and no two tenants have any in common. `attached`: there are attachments, which count by number.
    """
    if len(body) > MOST_BYTES:
        return NO_CHAIN
    view = memoryview(body)
    hashed = xxh3_64(seed)
    update, digest = hashed.update, hashed.digest
    digests: list[bytes] = []
    tokens: list[int] = []
    heads: list[tuple[bool, PromptHead]] = []
    size = 0
    weight = 0
    lengths = iter(HEAD_LENGTHS)
    next_head = next(lengths)
    for number, ranges in enumerate(_segments(layout)):
        if number <= FIRST_MESSAGE:
            update(_PART)
        before = size
        most = sum(text_bytes(bytes(view[begin:end])) for begin, end in ranges) if attached else len(body)
        for piece, piece_end in _without(ranges, layout.no_prompt) if layout.no_prompt else ranges:
            while size + piece_end - piece >= next_head:
                cut = piece + next_head - size
                update(view[piece:cut])
                piece, size = cut, next_head
                head_tokens = int((weight + min(size - before, most)) / BYTES_PER_TOKEN)
                heads.append((False, PromptHead(digest(), head_tokens, False)))
                next_head = next(lengths, _NEVER)
            update(view[piece:piece_end])
            size += piece_end - piece
        weight += min(size - before, most)
        digests.append(digest())
        tokens.append(int(weight / BYTES_PER_TOKEN))
        if number <= FIRST_MESSAGE and size >= LEAST_HEAD_BYTES and size > before:
            marked = any(begin <= mark < end for mark in layout.marks for begin, end in ranges)
            heads.append((True, PromptHead(digests[-1], tokens[-1], marked)))
    return Chain(with_count(b"".join(digests), layout.count), tuple(tokens), _worth_noting(heads))


def _worth_noting(heads: Sequence[tuple[bool, PromptHead]]) -> tuple[PromptHead, ...]:
    """The shortest, by which the others are found, those that end at a boundary, and the longest.

    Two prompts that share much are about as long as each other, so it is the long ones by which they find each other.
    Whether a head ends at a boundary stands before it.
    """
    lengths = sum(not at_boundary for at_boundary, _ in heads)
    kept, number = [], 0
    for at_boundary, head in heads:
        number += not at_boundary
        if at_boundary or number == 1 or number > lengths - _LONGEST:
            kept.append(head)
    return tuple(kept)


_LONGEST: Final = 4
_NEVER: Final = 1 << 62

_Ranges = Sequence[tuple[int, int]]
"""Of a body, each from where to where."""


def _segments(layout: PromptLayout) -> Iterator[_Ranges]:
    """What lies between one boundary that is kept and the next."""
    tools, system = layout.tools, layout.system
    yield ((tools.offset, tools.offset + tools.length),)
    yield (system.offset, system.offset + system.length), (layout.start, layout.opened)
    begin = layout.opened
    for end in layout.ends:
        yield ((begin, end),)
        begin = end


def _without(ranges: _Ranges, passed_over: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """What is left of them."""
    for begin, end in ranges:
        for offset, length in passed_over[bisect_left(passed_over, (begin, 0)) : bisect_left(passed_over, (end, 0))]:
            yield begin, offset
            begin = offset + length
        yield begin, end
