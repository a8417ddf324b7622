"""`cache_control` for each provider as it reads it: not at all, at single blocks, or at the request itself as well.

What the client wrote stays: its own breakpoints are never moved, and none is added where a rule of the API would break
(Anthropic, prompt caching guide, 2026: at most four; one for an hour comes before those for five minutes).
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from limpet_extproc.contract.catalog import CacheControl
from limpet_extproc.dialects.opener import ABSENT
from limpet_extproc.dialects.port import CacheDirectives, LastBlock
from limpet_extproc.dialects.spans import Member, cuts, span_of
from limpet_extproc.dialects.text import decode
from limpet_extproc.request.splices import NULL, AnyBody, BodyDraft, Splice, text_at

MOST: Final = 4
"""Breakpoints of a request."""
_USUAL: Final = '{"type":"ephemeral"}'
_NOTHING: Final = CacheDirectives()


class _Lifetime(msgspec.Struct, frozen=True, gc=False):
    ttl: str | None = None


class _OwnMark(msgspec.Struct, frozen=True, gc=False):
    cache_control: Raw = ABSENT


_OWN_MARK: Final = msgspec.json.Decoder(_OwnMark)
_CACHE_CONTROL: Final = msgspec.json.Decoder(_Lifetime)


def is_marked(directives: CacheDirectives | None, body: AnyBody) -> bool:
    """Whether a client says by `cache_control` what is to be cached; null says nothing."""
    if directives is None:
        return False
    top_level = () if directives.top_level is None else (directives.top_level,)
    return any(body[member.value] != NULL for member in (*directives.marks, *top_level))


def put_marks(
    draft: BodyDraft,
    directives: CacheDirectives | None,
    body: AnyBody,
    read: CacheControl,
    last_blocks: Callable[[], tuple[LastBlock, ...]],
    *,
    adds: bool,
) -> None:
    """`cache_control` for a provider that reads it at these places. `adds`: one is added, as the client sent none."""
    marks, top_level = (directives or _NOTHING).marks, (directives or _NOTHING).top_level
    if read == "None":
        draft.splices.extend(Splice(*cut, "") for mark in marks for cut in cuts((mark,)))
    value = _USUAL if adds else _value(top_level, body)
    if read == "TopLevel":
        if adds and top_level is None:
            draft.added.append(f'"cache_control":{_USUAL}')
        elif adds and top_level is not None:
            draft.splices.append(Splice(top_level.value, top_level.end - top_level.value, _USUAL))
    elif top_level is not None:
        draft.cut.append(top_level)
    if read != "None" and value:
        _put_marks(draft, marks, body, value, last_blocks, by_itself=read == "TopLevel")


def _value(member: Member | None, body: AnyBody) -> str | None:
    return None if member is None or body[member.value] == NULL else text_at(body, member.value, member.end)


def _put_marks(
    draft: BodyDraft,
    marks: tuple[Member, ...],
    body: AnyBody,
    value: str,
    last_blocks: Callable[[], tuple[LastBlock, ...]],
    *,
    by_itself: bool,
) -> None:
    """Breakpoints on the last blocks, as far as the client's own leave room. `by_itself`: the provider marks the last.

    The last block is the first to get one; an earlier one is for what the look-back from there does not reach.
    """
    own = [(mark.start, text_at(body, mark.value, mark.end)) for mark in marks if body[mark.value] != NULL]
    long = _is_long(value)
    room = MOST - len(own)
    if room <= 0 or (long and not all(_is_long(each) for _, each in own)):
        return
    blocks = last_blocks()
    if blocks and not by_itself:
        _put_mark(draft, marks, body, value, blocks[0])
    if len(blocks) < 2 or room < 2:
        return
    last, earlier = blocks
    between = range(earlier.span.offset, sum(last.span))
    if long or not any(start in between and _is_long(each) for start, each in own):
        _put_mark(draft, marks, body, value, earlier)


def _put_mark(draft: BodyDraft, marks: tuple[Member, ...], body: AnyBody, value: str, block: LastBlock) -> None:
    """A breakpoint on this block, unless it has one."""
    begin, end = block.span.offset, block.span.offset + block.span.length
    if block.is_text:
        draft.splices.append(Splice(begin, 0, '[{"type":"text","text":'))
        draft.splices.append(Splice(end, 0, f',"cache_control":{value}}}]'))
        return
    own = next((mark for mark in marks if begin <= mark.start < end and _is_own(mark, body, begin, end)), None)
    if own is None:
        draft.splices.append(Splice(end - 1, 0, f',"cache_control":{value}'))
    elif body[own.value] == NULL:
        draft.splices.append(Splice(own.value, own.end - own.value, value))


def _is_own(mark: Member, body: AnyBody, begin: int, end: int) -> bool:
    """Whether a mark in a block is that of the block: it may be of one inside of it, as in the result of a tool."""
    fields, seen = decode(_OWN_MARK, bytes(body[begin:end]))
    return fields.cache_control is not ABSENT and begin + span_of(seen, fields.cache_control).offset == mark.value


def _is_long(value: str) -> bool:
    """Whether it is for an hour."""
    try:
        return _CACHE_CONTROL.decode(value).ttl == "1h"
    except msgspec.MsgspecError:
        return False
