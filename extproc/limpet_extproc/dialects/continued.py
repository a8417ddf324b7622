"""A request that goes on from one that was read: only what it adds is read.

Most turns of a conversation send the bytes of the turn before up to the end of its last message, then some messages
more, and the same bytes behind them. What is read here is what a dialect would read of the whole.
"""

import re
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from limpet_extproc.dialects.cache_directives import mentions_mark
from limpet_extproc.dialects.moved_breakpoints import first_mention
from limpet_extproc.dialects.opener import has_history
from limpet_extproc.dialects.port import CacheDirectives, ParsedRequest
from limpet_extproc.dialects.prompt_layout import MOST_ADDED, longer_layout, moved, role_of
from limpet_extproc.dialects.spans import Body

_BETWEEN: Final = b", \t\r\n"
_LIST_ENDS: Final = re.compile(rb"\s*\]")
_MESSAGES: Final = msgspec.json.Decoder(list[Raw])


def may_go_on(request: ParsedRequest, body: Body) -> bool:
    """Whether a request may be read as going on from this one: nothing that is read of it depends on later messages.

    What opens the conversation ends with the first message, which has to be a user's.
    """
    layout = request.layout
    return (
        layout is not None
        and bool(layout.ends)
        and not layout.no_prompt
        and _has_no_places(request.cache)
        and not request.ours
        and request.provider_object is None
        and request.pin is None
        and request.model_form == "json"
        and _LIST_ENDS.match(body, layout.ends[-1]) is not None
        and isinstance(request.last_blocks, msgspec.UnsetType)
        and not _mentions_marks(body)
        and role_of(body[layout.opened : layout.ends[0]].lstrip(_BETWEEN)) == "user"
    )


def _has_no_places(cache: CacheDirectives | None) -> bool:
    return cache is None or not (cache.top_level or cache.marks or cache.retention)


def _mentions_marks(text: Body) -> bool:
    return mentions_mark(text) or first_mention(text) >= 0


def gone_on(request: ParsedRequest, end: int, added: Body) -> ParsedRequest | None:
    """The request with these bytes behind its last message, which ends at `end`; None: it has to be read as a whole."""
    layout = request.layout
    if not added or layout is None:
        return request
    if added[:1] != b"," or not _is_text(added) or _mentions_marks(added):
        return None
    listed = b"[" + added[1:] + b"]"
    try:
        messages = _MESSAGES.decode(listed)
    except (msgspec.MsgspecError, RecursionError):
        return None
    # Whether it has earlier turns may depend on messages that are not at hand, unless one of these is an answer.
    if not 0 < len(messages) <= MOST_ADDED or not has_history(messages):
        return None
    size, options = len(added), request.stream_options
    return replace(
        request,
        has_history=True,
        model_span=moved(request.model_span, end, size),
        stream_options=None if options is None else moved(options, end, size),
        layout=longer_layout(layout, end, size, listed, messages),
    )


def _is_text(added: Body) -> bool:
    if added.isascii():
        return True
    try:
        added.decode()
    except UnicodeDecodeError:
        return False
    return True
