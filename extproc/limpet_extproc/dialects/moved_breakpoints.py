"""OpenAI's `prompt_cache_breakpoint`: it is no part of a prompt, and clients move it from turn to turn."""

import re
from typing import Final

from limpet_extproc.dialects.spans import Body, Member, Span, member_at
from limpet_extproc.dialects.text import find

MOST_BREAKPOINTS: Final = 64
"""OpenAI writes the latest four; of more than these none is passed over."""

_NAME: Final = "prompt_cache_breakpoint"
_KEY: Final = b'"prompt_cache_breakpoint"'
_MEMBER: Final = re.compile(_KEY + rb"\s*:\s*(\{[^{}]*\}|null)")
"""Within a text its quotes are escaped, so nothing of a text is taken for it."""
_BEFORE: Final = _KEY.index(b"_")
_FEW: Final = 4
"""Bytes `_` of a body without code, in the names of fields."""


def moved_breakpoints(text: Body) -> tuple[Member, ...]:
    """Where they stand, in their order."""
    at = first_mention(text)
    if at < 0:
        return ()
    view = memoryview(text)
    values = [found.span(1) for found in _MEMBER.finditer(text, at)]
    if len(values) > MOST_BREAKPOINTS:
        return ()
    return tuple([member_at(view, _NAME, Span(begin, end - begin)) for begin, end in values])


def first_mention(text: Body) -> int:
    """Where the key stands first, or -1. Prose hardly has a `_`, and a byte is found much faster than a word."""
    at = -1
    for _ in range(_FEW):
        at = text.find(b"_", at + 1)
        if at < 0:
            return -1
        if text.startswith(_KEY, at - _BEFORE):
            return at - _BEFORE
    return find(text, _KEY, at)
