"""`cache_control` for each provider as it reads it: not at all, at single blocks, or at the request itself as well.

What the client wrote stays: its own breakpoints are never moved, and none is added where a rule of the API would break
(Anthropic, prompt caching guide, 2026: at most four; one for an hour comes before those for five minutes).
"""

from collections.abc import Callable
from typing import Final

import msgspec

from limpet_extproc.contract.catalog import CacheControl
from limpet_extproc.dialects.port import CacheAsk, LastBlock
from limpet_extproc.dialects.spans import Member, cuts
from limpet_extproc.request.splices import NULL, AnyBody, BodyDraft, Splice, text_at

MOST: Final = 4
"""Breakpoints of a request."""
_USUAL: Final = '{"type":"ephemeral"}'
_NOTHING: Final = CacheAsk()


class _Lifetime(msgspec.Struct, frozen=True, gc=False):
    ttl: str | None = None


_CACHE_CONTROL: Final = msgspec.json.Decoder(_Lifetime)


def is_marked(ask: CacheAsk | None, body: AnyBody) -> bool:
    """Whether a client says by `cache_control` what is to be cached; null says nothing."""
    return ask is not None and any(
        body[member.value] != NULL for member in (*ask.marks, *((ask.top_level,) if ask.top_level else ()))
    )


def put_marks(
    draft: BodyDraft,
    ask: CacheAsk | None,
    body: AnyBody,
    read: CacheControl,
    last_block: Callable[[], LastBlock | None],
    *,
    adds: bool,
) -> None:
    """`cache_control` for a provider that reads it at these places. `adds`: one is added, as the client sent none."""
    marks, top_level = (ask or _NOTHING).marks, (ask or _NOTHING).top_level
    if read == "None":
        draft.splices.extend(Splice(*cut, "") for mark in marks for cut in cuts((mark,)))
    if read == "TopLevel":
        if adds and top_level is None:
            draft.added.append(f'"cache_control":{_USUAL}')
        elif adds and top_level is not None:
            draft.splices.append(Splice(top_level.value, top_level.end - top_level.value, _USUAL))
        return
    if top_level is not None:
        draft.cut.append(top_level)
    if read == "Blocks" and (value := _USUAL if adds else _value(top_level, body)):
        _put_mark(draft, marks, body, value, last_block)


def _value(member: Member | None, body: AnyBody) -> str | None:
    return None if member is None or body[member.value] == NULL else text_at(body, member.value, member.end)


def _put_mark(
    draft: BodyDraft, marks: tuple[Member, ...], body: AnyBody, value: str, last_block: Callable[[], LastBlock | None]
) -> None:
    """A breakpoint on the last block, unless the client's own leave no room for it."""
    values = [text_at(body, mark.value, mark.end) for mark in marks if body[mark.value] != NULL]
    if len(values) >= MOST or (_is_long(value) and not all(map(_is_long, values))):
        return
    block = last_block()
    if block is None:
        return
    begin, end = block.span.offset, block.span.offset + block.span.length
    if block.is_text:
        draft.splices.append(Splice(begin, 0, '[{"type":"text","text":'))
        draft.splices.append(Splice(end, 0, f',"cache_control":{value}}}]'))
        return
    own = next((mark for mark in marks if begin <= mark.start < end), None)
    if own is None:
        draft.splices.append(Splice(end - 1, 0, f',"cache_control":{value}'))
    elif body[own.value] == NULL:
        draft.splices.append(Splice(own.value, own.end - own.value, value))


def _is_long(value: str) -> bool:
    """Whether it is for an hour."""
    try:
        return _CACHE_CONTROL.decode(value).ttl == "1h"
    except msgspec.MsgspecError:
        return False
