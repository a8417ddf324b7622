"""The chain of a prompt: one pass of a hash over its bytes as the client wrote them, without the marks for caches."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise, repeat
from operator import itemgetter, truediv
from typing import Final

import msgspec
from msgspec.structs import replace
from xxhash import xxh3_64

from limpet_extproc.decision.prefix import FIRST_MESSAGE, NO_CHAIN, Chain, PromptHead, packed
from limpet_extproc.decision.price import BYTES_PER_TOKEN
from limpet_extproc.dialects.port import PromptLayout
from limpet_extproc.dialects.prompt_layout import still_kept
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

LONGEST_HEADS: Final = 4
"""Of the heads with one of these lengths, so many are kept, and the shortest, by which the others are found. Two
prompts that share much are about as long as each other, so it is the long ones by which they find each other."""

_SECOND: Final = itemgetter(1)

_PART: Final = b"\0"
"""Stands before each part, so that tools are not taken for a system prompt."""


class HashedPrompt(msgspec.Struct, frozen=True, gc=False):
    """A prompt that was hashed, from which another one may go on."""

    hashed: xxh3_64
    """All of it; to be copied, and not changed."""
    digests: Sequence[bytes]
    """After each boundary that is kept."""
    sizes: Sequence[int]
    """Bytes up to each of these."""
    lengths: Sequence[bytes]
    """The hashes of the heads that end at one of `HEAD_LENGTHS`."""


def chain_of(body: bytes | memoryview, layout: PromptLayout, seed: bytes, *, attached: bool) -> Chain:
    """The chain of the prompt that stands so in `body`.

    `seed` is a secret for the tenant, the model and the API: without it nobody can find out whether a hash is that of a
    text, and no two tenants have any in common. `attached`: there are attachments, which count by number.
    """
    if len(body) > MOST_BYTES:
        return NO_CHAIN
    if layout.no_prompt:
        body, layout = _without_marks(body, layout)
    view = memoryview(body)
    return chain_of_hashed(view, layout, hash_prompt(view, layout, seed), attached=attached)


def hash_prompt(view: memoryview, layout: PromptLayout, seed: bytes) -> HashedPrompt:
    """Of a prompt in which nothing is passed over; `seed`: see `chain_of`."""
    hashed = xxh3_64(seed)
    update, digest = hashed.update, hashed.digest
    lengths: list[bytes] = []
    tools, system, begin = layout.tools, layout.system, layout.opened
    update(_PART)
    size = tools.length
    if size:
        _through_heads(hashed, view, tools.offset, tools.offset + size, 0, lengths)
    digests, sizes = [digest()], [size]
    update(_PART)
    for start, end in ((system.offset, system.offset + system.length), (layout.start, begin)):
        if end > start:
            _through_heads(hashed, view, start, end, size, lengths)
            size += end - start
    digests.append(digest())
    sizes.append(size)
    update(_PART)
    shift = size - begin
    digests += _through_messages(hashed, view, begin, layout.ends, shift, lengths)
    sizes += map(shift.__add__, layout.ends)
    return HashedPrompt(hashed, digests, sizes, lengths)


def hash_more(before: HashedPrompt, count: int, end: int, view: memoryview, layout: PromptLayout) -> HashedPrompt:
    """Of a prompt that goes on from one with so many boundaries, whose last message ended at `end`."""
    hashed, lengths = before.hashed.copy(), list(before.lengths)
    more, shift = layout.count - count, before.sizes[-1] - end
    ends = layout.ends[-more:]
    digests = _through_messages(hashed, view, end, ends, shift, lengths)
    return HashedPrompt(
        hashed,
        still_kept(count, more, [*before.digests, *digests]),
        still_kept(count, more, [*before.sizes, *map(shift.__add__, ends)]),
        lengths,
    )


def chain_of_hashed(view: memoryview, layout: PromptLayout, prompt: HashedPrompt, *, attached: bool) -> Chain:
    """See `chain_of`."""
    digests, sizes, lengths = prompt.digests, prompt.sizes, prompt.lengths
    weights = _weights(view, layout, sizes) if attached else sizes
    tokens = tuple(map(int, map(truediv, weights, repeat(BYTES_PER_TOKEN))))
    heads = _heads(layout, digests, sizes, weights, lengths) if lengths else ()
    return Chain(packed(digests, layout.count), tokens, heads)


_NEXT_HEAD: Final = (*HEAD_LENGTHS, MOST_BYTES + 1)
_Ranges = Sequence[tuple[int, int]]
"""Of a body, each from where to where."""


def _first_parts(layout: PromptLayout) -> tuple[_Ranges, _Ranges]:
    """Tools and system prompt, which is a field or the first messages."""
    tools, system = layout.tools, layout.system
    return (
        ((tools.offset, tools.offset + tools.length),),
        ((system.offset, system.offset + system.length), (layout.start, layout.opened)),
    )


def _through_heads(hashed: xxh3_64, view: memoryview, begin: int, end: int, size: int, lengths: list[bytes]) -> None:
    """Hash what stands there; what was hashed before is `size` long. A hash is added for each head that ends there."""
    while size + end - begin >= (length := _NEXT_HEAD[len(lengths)]):
        cut = begin + length - size
        hashed.update(view[begin:cut])
        lengths.append(hashed.digest())
        begin, size = cut, length
    hashed.update(view[begin:end])


def _through_messages(
    hashed: xxh3_64, view: memoryview, begin: int, ends: Sequence[int], shift: int, lengths: list[bytes]
) -> list[bytes]:
    """Hash messages up to the last of these ends; the hashes at each. `shift`: see `hash_prompt`."""
    # Where a boundary or a head ends, in one row; nearly all work of a long conversation is this one loop.
    last = ends[-1] if ends else begin
    cuts = [length - shift for length in HEAD_LENGTHS[len(lengths) : bisect_right(HEAD_LENGTHS, last + shift)]]
    places = sorted({*ends, *cuts}) if cuts else ends
    pieces = map(view.__getitem__, map(slice, (begin, *places), places))
    by_turns = zip(map(hashed.update, pieces), iter(hashed.digest, None), strict=False)  # without bytecode
    found = list(map(_SECOND, by_turns))
    if not cuts:
        return found
    hash_of = dict(zip(places, found, strict=True)).__getitem__
    lengths += map(hash_of, cuts)
    return list(map(hash_of, ends))


def _weights(view: memoryview, layout: PromptLayout, sizes: Sequence[int]) -> list[int]:
    """The sizes without the bytes of attachments."""
    parts = [*_first_parts(layout), *(((begin, end),) for begin, end in pairwise((layout.opened, *layout.ends)))]
    weights: list[int] = []
    for part, (before, size) in zip(parts, pairwise((0, *sizes)), strict=True):
        weight = sum(text_bytes(bytes(view[begin:end])) for begin, end in part)
        weights.append((weights[-1] if weights else 0) + min(weight, size - before))
    return weights


def _heads(
    layout: PromptLayout,
    digests: Sequence[bytes],
    sizes: Sequence[int],
    weights: Sequence[int],
    lengths: Sequence[bytes],
) -> tuple[PromptHead, ...]:
    """`lengths`: the hashes of those that end at one of `HEAD_LENGTHS`."""
    longest = range(max(1, len(lengths) - LONGEST_HEADS), len(lengths))
    found = [(HEAD_LENGTHS[at], lengths[at], False) for at in (0, *longest)]
    before = 0
    for number, size in enumerate(sizes[: FIRST_MESSAGE + 1]):
        if size >= LEAST_HEAD_BYTES and size > before:
            found.append((size, digests[number], bool(layout.marks) and _is_marked(layout, number)))
        before = size
    found.sort()
    if weights is sizes:
        return tuple([PromptHead(hash_, int(size / BYTES_PER_TOKEN), marked) for size, hash_, marked in found])
    return tuple([PromptHead(hash_, _tokens_at(size, sizes, weights), marked) for size, hash_, marked in found])


def _tokens_at(size: int, sizes: Sequence[int], weights: Sequence[int]) -> int:
    at = bisect_left(sizes, size)
    begin, weight = (sizes[at - 1], weights[at - 1]) if at else (0, 0)
    return int(min(weights[at], weight + size - begin) / BYTES_PER_TOKEN)


def _is_marked(layout: PromptLayout, number: int) -> bool:
    """Whether a breakpoint stands in the part before this boundary."""
    parts = (*_first_parts(layout), ((layout.opened, layout.ends[0] if layout.ends else layout.opened),))
    return any(begin <= mark < end for mark in layout.marks for begin, end in parts[number])


def _without_marks(body: bytes | memoryview, layout: PromptLayout) -> tuple[bytes, PromptLayout]:
    """The body without what is no part of the prompt, and where everything stands in it."""
    view, passed_over = memoryview(body), layout.no_prompt
    kept, gone = [view[: passed_over[0].offset]], [0]
    for (offset, length), following in pairwise((*passed_over, Span(len(body), 0))):
        kept.append(view[offset + length : following.offset])
        gone.append(gone[-1] + length)

    def moved(place: int) -> int:
        at = bisect_left(passed_over, (place, 0))
        if at and place < (begin := passed_over[at - 1].offset) + passed_over[at - 1].length:
            return begin - gone[at - 1]
        return place - gone[at]

    def span(of: Span) -> Span:
        begin = moved(of.offset)
        return Span(begin, moved(of.offset + of.length) - begin)

    return b"".join(kept), replace(
        layout,
        tools=span(layout.tools),
        system=span(layout.system),
        start=moved(layout.start),
        opened=moved(layout.opened),
        ends=tuple([moved(end) for end in layout.ends]),
        marks=tuple([moved(mark) for mark in layout.marks]),
    )
