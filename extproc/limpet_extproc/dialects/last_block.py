"""Where a breakpoint goes that is to cache the whole prompt: the last block that may have one.

The rules are Anthropic's (prompt caching guide, 2026). The search goes back from the end and ends after so many blocks.
"""

from collections.abc import Container, Iterator
from itertools import islice
from typing import Final

import msgspec
from msgspec import Raw

from limpet_extproc.dialects.cache_ask import is_looked_into
from limpet_extproc.dialects.opener import ABSENT
from limpet_extproc.dialects.port import BadRequestError, LastBlock
from limpet_extproc.dialects.spans import Body, span_of
from limpet_extproc.dialects.text import begin_of, decode

MAX_BLOCKS: Final = 256
"""Messages and blocks that are looked at."""

MESSAGE_BLOCKS: Final = frozenset({"text", "image", "document", "search_result", "tool_use", "tool_result"})
"""Of Anthropic's messages; thinking cannot have a breakpoint."""

CHAT_PARTS: Final = frozenset({"text"})
"""OpenAI's API has no breakpoints of this kind; gateways and providers that take them there do so at texts."""

_EMPTY_BYTES: Final = 2
"""Of a text, quotes included."""


class _Prompt(msgspec.Struct, frozen=True, gc=False):
    messages: list[Raw]
    system: Raw = ABSENT
    tools: Raw = ABSENT


class _Turn(msgspec.Struct, frozen=True, gc=False):
    content: Raw = ABSENT


class _EndBlock(msgspec.Struct, frozen=True, gc=False):
    type: str
    text: Raw = ABSENT


_PROMPT: Final = msgspec.json.Decoder(_Prompt)
_TURN: Final = msgspec.json.Decoder(_Turn)
_BLOCK: Final = msgspec.json.Decoder(_EndBlock)
_LIST: Final = msgspec.json.Decoder(list[Raw])


def last_block(body: Body, kinds: Container[str]) -> LastBlock | None:
    """The last block of one of these types: of the messages, or else of the system prompt, or else a tool."""
    if not is_looked_into(body):
        return None
    try:
        prompt, text = decode(_PROMPT, body)
    except BadRequestError:
        return None
    candidates = islice(_backwards(prompt, text, kinds), MAX_BLOCKS)
    return next((each for each in candidates if each is not None), None)


def _backwards(prompt: _Prompt, text: Body, kinds: Container[str]) -> Iterator[LastBlock | None]:
    """Each place from the last one on; None for one that cannot have a breakpoint."""
    for message in reversed(prompt.messages):
        yield None
        yield from _blocks(_content(message), text, kinds)
    yield from _blocks(prompt.system, text, kinds)
    yield from (LastBlock(span_of(text, tool), False) for tool in reversed(_list(prompt.tools)) if _is_object(tool))


def _content(message: Raw) -> Raw:
    try:
        return _TURN.decode(message).content
    except (msgspec.MsgspecError, RecursionError):
        return ABSENT


def _blocks(content: Raw, text: Body, kinds: Container[str]) -> Iterator[LastBlock | None]:
    if _is_text(content):
        yield LastBlock(span_of(text, content), True)
    for block in reversed(_list(content)):
        yield LastBlock(span_of(text, block), False) if _may_end(block, kinds) else None


def _may_end(block: Raw, kinds: Container[str]) -> bool:
    try:
        read = _BLOCK.decode(block)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return read.type in kinds and (read.type != "text" or _is_text(read.text))


def _list(value: Raw) -> list[Raw]:
    try:
        return _LIST.decode(value) if begin_of(value) == b"[" else []
    except (msgspec.MsgspecError, RecursionError):
        return []


def _is_text(value: Raw) -> bool:
    return begin_of(value) == b'"' and len(memoryview(value)) > _EMPTY_BYTES


def _is_object(value: Raw) -> bool:
    return begin_of(value) == b"{"
