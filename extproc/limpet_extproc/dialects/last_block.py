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


class _EndTurn(msgspec.Struct, frozen=True, gc=False):
    content: Raw = ABSENT


class _EndPrompt(msgspec.Struct, frozen=True, gc=False):
    messages: list[_EndTurn]
    system: Raw = ABSENT
    tools: Raw = ABSENT


class _EndBlock(msgspec.Struct, frozen=True, gc=False):
    type: Raw = ABSENT
    text: Raw = ABSENT


# Lists of objects alone, whose number is bounded: one of anything else ends the decoding where it stands.
_PROMPT: Final = msgspec.json.Decoder(_EndPrompt)
_BLOCKS: Final = msgspec.json.Decoder(list[_EndBlock])
_WRITTEN: Final = msgspec.json.Decoder(list[Raw])
_TYPE: Final = msgspec.json.Decoder(str)


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


def _backwards(prompt: _EndPrompt, text: Body, kinds: Container[str]) -> Iterator[LastBlock | None]:
    """Each place from the last one on; None for one that cannot have a breakpoint."""
    for message in reversed(prompt.messages):
        yield None
        yield from _in_content(message.content, text, kinds)
    yield from _in_content(prompt.system, text, kinds)
    yield from (LastBlock(span_of(text, tool), False) for _, tool in _blocks(prompt.tools))


def _in_content(content: Raw, text: Body, kinds: Container[str]) -> Iterator[LastBlock | None]:
    if _is_text(content):
        yield LastBlock(span_of(text, content), True)
    for block, written in _blocks(content):
        yield LastBlock(span_of(text, written), False) if _may_end(block, kinds) else None


def _blocks(value: Raw) -> Iterator[tuple[_EndBlock, Raw]]:
    """From the last one on."""
    if begin_of(value) != b"[":
        return
    try:
        blocks = _BLOCKS.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return
    yield from zip(reversed(blocks), reversed(_WRITTEN.decode(value)), strict=True)


def _may_end(block: _EndBlock, kinds: Container[str]) -> bool:
    try:
        kind = _TYPE.decode(block.type)
    except msgspec.MsgspecError:
        return False
    return kind in kinds and (kind != "text" or _is_text(block.text))


def _is_text(value: Raw) -> bool:
    return begin_of(value) == b'"' and len(memoryview(value)) > _EMPTY_BYTES
