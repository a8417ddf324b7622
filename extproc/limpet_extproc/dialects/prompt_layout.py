"""Where the parts of a prompt stand in a body, in the order in which caches take them: tools, system, messages.

Their ends are where two prompts can stop being the same. Of a long conversation only some are kept (`kept_positions`).
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from limpet_extproc.dialects.opener import ABSENT, READ_MESSAGES
from limpet_extproc.dialects.port import CacheDirectives, PromptLayout
from limpet_extproc.dialects.spans import Body, Member, Span, address, cuts, span_of

BEFORE_MESSAGES: Final = 2
"""Boundaries of tools and system prompt, which are there even where these are not."""

MOST_KEPT: Final = 64
_COUNTS: Final = 1024
"""Lengths of long conversations for which it is kept which of their boundaries are."""
_FIRST: Final = 16
_LAST: Final = 32
_BETWEEN: Final = MOST_KEPT - _FIRST - _LAST

MOST_ADDED: Final = _LAST
"""Messages behind those that are known: the last ones of these are all kept, so that none is missed."""

_BEFORE: Final = (0,) * BEFORE_MESSAGES
_T = TypeVar("_T")

_MOST_COMMAS: Final = 1_000_000
"""In a body whose messages are all decoded however many they are; that takes a tenth of a microsecond each."""

_MOST_UNUSUAL: Final = 2_000
"""Messages that are decoded to find what makes blocks of texts; that takes two microseconds each."""

_COMMA: Final = b","
_QUOTE: Final = 0x22
_BRACKET: Final = 0x5B
_NULL: Final = memoryview(b"null")
_BLOCK_ENDS: Final = b"}]}"

_OPENS: Final = re.compile(rb'\{\s*"role"\s*:\s*"(?:system|developer)"')
_ROLE_FIRST: Final = re.compile(rb'\{\s*"role"')
_TEXT_BLOCK: Final = re.compile(
    rb'\{\s*"role"\s*:\s*"\w+"\s*,\s*"content"\s*:\s*(\[\s*\{\s*"type"\s*:\s*"text"\s*,\s*"text"\s*:\s*)"'
)


class _Spoken(msgspec.Struct, frozen=True, gc=False):
    role: str = ""


_SPOKEN: Final = msgspec.json.Decoder(_Spoken)


class _Said(msgspec.Struct, frozen=True, gc=False):
    content: Raw = ABSENT


class _Block(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    text: Raw = ABSENT


_SAID: Final = msgspec.json.Decoder(_Said)
_BLOCKS: Final = msgspec.json.Decoder(list[_Block])


class _Rest(msgspec.Struct, frozen=True, gc=False):
    limpet_rest: list[Raw]


_REST: Final = msgspec.json.Decoder(_Rest)
_REST_KEY: Final = b'{"limpet_rest":['
"""Makes an object of what follows a message in its list."""


def kept_positions(count: int) -> Sequence[int]:
    """Which of so many boundaries are kept: the first 16, the last 32, and between them every so many.

    The distance is a power of two, so that a conversation that grows keeps some of those that it had.
    """
    if count <= MOST_KEPT:
        return range(count)
    distance = 1
    while count > distance * _BETWEEN:
        distance *= 2
    end = count - _LAST
    between = range(-(-_FIRST // distance) * distance, end, distance)
    return (*range(_FIRST), *between, *range(end, count))


@lru_cache(maxsize=_COUNTS)
def _those_kept(count: int) -> Callable[[Sequence[int]], Sequence[int]]:
    """Takes from the ends of a long conversation's messages those that are kept; the same for all of this length."""
    return itemgetter(*[at - BEFORE_MESSAGES for at in kept_positions(count)[BEFORE_MESSAGES:]])


@lru_cache(maxsize=_COUNTS)
def _those_still_kept(count: int, more: int) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """See `still_kept`; the same for all of these lengths."""
    place = {at: index for index, at in enumerate((*kept_positions(count), *range(count, count + more)))}
    return itemgetter(*[place[at] for at in kept_positions(count + more)])


def still_kept(count: int, more: int, values: Sequence[_T]) -> Sequence[_T]:
    """Those of boundaries that are kept, where there are some more of them.

    `values` has one for each that was kept of so many, then one for each of the others, at most `MOST_ADDED`.
    """
    return values if count + more <= MOST_KEPT else _those_still_kept(count, more)(values)


def longer_layout(layout: PromptLayout, end: int, size: int, listed: Body, messages: Sequence[Raw]) -> PromptLayout:
    """The layout of a prompt that goes on behind its last message, which ends at `end`, with so many bytes more.

    `messages` are views into `listed`, which has these bytes in their place: at least one, at most `MOST_ADDED`.
    """
    ends = _ends_in_a_row(listed, messages)
    count, more = layout.count, len(ends)
    places = (*_BEFORE, *layout.ends, *map(end.__add__, ends))
    return replace(
        layout,
        tools=moved(layout.tools, end, size),
        system=moved(layout.system, end, size),
        ends=tuple(still_kept(count, more, places)[BEFORE_MESSAGES:]),
        count=count + more,
    )


def _ends_in_a_row(listed: Body, messages: Sequence[Raw]) -> Sequence[int]:
    """Where the messages of a list end. Most clients write nothing around its commas: then their lengths say it."""
    lengths = list(map(len, map(_VIEW, messages)))
    if sum(lengths) + len(lengths) + 1 == len(listed):
        return list(accumulate(map((1).__add__, lengths)))
    return _places(listed, messages)[1]


def moved(span: Span, end: int, more: int) -> Span:
    """Where a value stands once so many bytes more stand at `end`."""
    return span if span.offset < end else Span(span.offset + more, span.length)


def layout_of(
    text: Body,
    messages: Sequence[Raw],
    *,
    tools: Raw = ABSENT,
    system: Raw = ABSENT,
    cache: CacheDirectives | None = None,
    moved: Sequence[Member] = (),
) -> PromptLayout:
    """Of a body that was read; `messages` are its first ones, or what stands in their place, views into `text`.

    `cache`: what it says about caches. Its marks are no part of the prompt: clients move them from turn to turn. Nor
    are those that `moved_breakpoints` finds.
    """
    marks = cache.marks if cache is not None else ()
    cut = cuts((*marks, *moved)) if marks or moved else ()
    lengths, ends = _places(text, messages)
    if len(messages) >= READ_MESSAGES:
        more = _places_after(text, ends[-1])
        lengths += more[0]
        ends += more[1]
    leading = _leading(text, lengths, ends)
    count = BEFORE_MESSAGES + len(ends) - leading
    kept = ends[leading:] if count <= MOST_KEPT else _those_kept(count)(ends[leading:])
    start = ends[0] - lengths[0] if ends else 0
    return PromptLayout(
        tools=_span(text, tools),
        system=_span(text, system),
        start=start,
        opened=ends[leading - 1] if leading else start,
        ends=tuple(kept),
        count=count,
        no_prompt=_apart(_no_prompt(text, lengths, ends, cut)) if cut else (),
        marks=tuple([mark.start for mark in marks]),
    )


def _span(text: Body, value: Raw) -> Span:
    if value is ABSENT or memoryview(value) == _NULL:
        return _NOWHERE
    return span_of(text, value)


_NOWHERE: Final = Span(0, 0)


_VIEW: Final[Callable[[Raw], memoryview]] = memoryview

_Places = tuple[list[int], list[int]]
"""Of messages: how long each is, and where it ends."""


def _places(text: Body, messages: Sequence[Raw]) -> _Places:
    lengths = list(map(len, map(_VIEW, messages)))
    if not lengths:
        return [], []
    base = address(text)
    start = address(messages[0]) - base
    spaces = len(lengths) - 1
    if not spaces:
        return lengths, [start + lengths[0]]
    # Where the places of the first and the last one show that all stand in a row, the others need not be asked for.
    between, odd = divmod(address(messages[-1]) - base + lengths[-1] - start - sum(lengths), spaces)
    ends = list(accumulate(map(between.__add__, lengths[1:]), initial=start + lengths[0]))
    if odd or (between > 1 and bytes(map(text.__getitem__, ends[:-1])).strip(_COMMA)):
        ends = [address(message) - base + length for message, length in zip(messages, lengths, strict=True)]
    return lengths, ends


def _places_after(text: Body, end: int) -> _Places:
    """Of the messages after those that were read; none where a body is so dense that they would be too many."""
    comma = text.find(_COMMA, end)
    if comma < 0 or text[end:comma].strip() or text.count(_COMMA) > _MOST_COMMAS:
        return [], []
    begin = comma + 1
    rest = _REST_KEY + text[begin:]
    try:
        lengths, ends = _places(rest, _REST.decode(rest).limpet_rest)
    except (msgspec.MsgspecError, RecursionError):
        return [], []
    return lengths, [begin + each - len(_REST_KEY) for each in ends]


def _leading(text: Body, lengths: Sequence[int], ends: Sequence[int]) -> int:
    """How many messages are the system prompt; a system message further on is one like others."""
    for at, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        begin = end - length
        if not _OPENS.match(text, begin, end) and (
            _ROLE_FIRST.match(text, begin, end) or not _opens_otherwise(text[begin:end])
        ):
            return at
    return len(ends)


def _opens_otherwise(message: Body) -> bool:
    """Whether its role, which does not stand first (as where a client sorts members), is that of a system prompt."""
    return role_of(message) in ("system", "developer")


def role_of(message: Body) -> str:
    """Whose message it is; empty: that is not said."""
    try:
        return _SPOKEN.decode(message).role
    except (msgspec.MsgspecError, RecursionError):
        return ""


def _no_prompt(text: Body, lengths: Sequence[int], ends: Sequence[int], marks: Sequence[Span]) -> tuple[Span, ...]:
    """What to pass over so that a prompt is the same with its marks and without, in their order.

    A text becomes a block to be marked, and is a text again in the next turn; so what makes a block of it is no part
    of the prompt either.
    """
    if 0 < len(ends) <= _MOST_UNUSUAL and not _is_usual(text, ends[0] - lengths[0], ends[0]):
        return _no_prompt_otherwise(text, lengths, ends, marks)
    mark_at = {offset + length: offset for offset, length in marks}
    found = list(marks)
    for length, end in zip(lengths, ends, strict=True):
        block = said = end - len(_BLOCK_ENDS)
        while said in mark_at:  # a block may have two
            said = mark_at[said]
        if text.startswith(_BLOCK_ENDS, block) and text[said - 1] == _QUOTE:
            begin = _TEXT_BLOCK.match(text, end - length, end)
            if begin is not None:
                found += (Span(begin.start(1), begin.end(1) - begin.start(1)), Span(block, 2))
    found.sort()
    return tuple(found)


def _apart(spans: Sequence[Span]) -> tuple[Span, ...]:
    """In their order, and none begins within another, as a mark may stand in one."""
    found: list[Span] = []
    end = 0
    for span in spans:
        begin = max(span.offset, end)
        length = span.offset + span.length - begin
        if length > 0:
            found.append(Span(begin, length))
            end = begin + length
    return tuple(found)


def _is_usual(text: Body, begin: int, end: int) -> bool:
    """Whether a message, and so all of its client, begins with its role and has no space before its end."""
    return _ROLE_FIRST.match(text, begin, end) is not None and text[end - 2] in b'"]'


def _no_prompt_otherwise(
    text: Body, lengths: Sequence[int], ends: Sequence[int], marks: Sequence[Span]
) -> tuple[Span, ...]:
    """`_no_prompt` of a client that sorts the members of messages, or writes each into a line of its own."""
    found: list[Span] = []
    left, at = sorted(marks), 0
    for length, end in zip(lengths, ends, strict=True):
        if text.find(b"[", end - length, end) < 0:
            continue
        content, written = _only_text(text[end - length : end])
        if written.length:
            begin, written_end = end - length + content.offset, end - length + written.offset + written.length
            while at < len(left) and left[at].offset < begin:
                found.append(left[at])
                at += 1
            content_end = begin + content.length
            found += (Span(begin, written.offset - content.offset), Span(written_end, content_end - written_end))
            while at < len(left) and left[at].offset < content_end:
                at += 1  # it stands in one of these two
    return (*found, *left[at:])


def _only_text(message: Body) -> tuple[Span, Span]:
    """Where its content stands, and in that its only block's text; length 0: it is not one block of text."""
    none = Span(0, 0)
    try:
        content = _SAID.decode(message).content
        if content is ABSENT or memoryview(content)[0] != _BRACKET:
            return none, none
        blocks = _BLOCKS.decode(content)
    except (msgspec.MsgspecError, RecursionError):
        return none, none
    block = blocks[0] if len(blocks) == 1 else _Block()
    if block.type != "text" or block.text is ABSENT or memoryview(block.text)[0] != _QUOTE:
        return none, none
    return span_of(message, content), span_of(message, block.text)
