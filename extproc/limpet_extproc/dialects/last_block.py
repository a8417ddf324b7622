"""Where breakpoints go that are to cache the whole prompt: the last block that may have one, and perhaps one before it.

The rules are Anthropic's (prompt caching guide, 2026). The search goes back from the end and ends after so many blocks.
"""

from collections.abc import Container, Iterator
from itertools import islice
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from limpet_extproc.dialects.cache_directives import is_looked_into
from limpet_extproc.dialects.opener import ABSENT
from limpet_extproc.dialects.port import BadRequestError, LastBlock
from limpet_extproc.dialects.spans import Body, span_of
from limpet_extproc.dialects.text import begin_of, decode

MAX_BLOCKS: Final = 256
"""Messages and blocks that are looked at."""

LOOK_BACK: Final = 20
"""Blocks in which a vendor looks for the end of an earlier prompt from each breakpoint, which is the first of them."""

MESSAGE_BLOCKS: Final = frozenset({"text", "image", "document", "search_result", "tool_use", "tool_result"})
"""Of Anthropic's messages; thinking cannot have a breakpoint."""

CHAT_PARTS: Final = frozenset({"text"})
"""OpenAI's API has no breakpoints of this kind; gateways and providers that take them there do so at texts."""

_ASSISTANT: Final = memoryview(b'"assistant"')
_EMPTY_BYTES: Final = 2
"""Of a text, quotes included."""


class _EndTurn(msgspec.Struct, frozen=True, gc=False):
    role: Raw = ABSENT
    content: Raw = ABSENT
    tool_calls: Raw = ABSENT


class _EndPrompt(msgspec.Struct, frozen=True, gc=False):
    messages: list[_EndTurn]
    system: Raw = ABSENT
    tools: Raw = ABSENT


class _EndBlock(msgspec.Struct, frozen=True, gc=False):
    type: Raw = ABSENT
    text: Raw = ABSENT


class _Place(NamedTuple):
    block: LastBlock | None
    """None: what cannot have a breakpoint."""
    answers: int = 0
    """Among the messages after it."""


# Lists of objects alone, whose number is bounded: one of anything else ends the decoding where it stands.
_PROMPT: Final = msgspec.json.Decoder(_EndPrompt)
_BLOCKS: Final = msgspec.json.Decoder(list[_EndBlock])
_WRITTEN: Final = msgspec.json.Decoder(list[Raw])
_TYPE: Final = msgspec.json.Decoder(str)


def last_blocks(body: Body, kinds: Container[str]) -> tuple[LastBlock, ...]:
    """The last block of one of these types: of the messages, or else of the system prompt, or else a tool.

    After it, if it is too far back to be found from there: the one that was the last of the request before, whose
    answer is the last one among the messages.
    """
    if not is_looked_into(body):
        return ()
    try:
        prompt, text = decode(_PROMPT, body)
    except BadRequestError:
        return ()
    places = islice(_backwards(prompt, text, kinds), MAX_BLOCKS)
    last = next((place for place in places if place.block is not None), None)
    if last is None or last.block is None:
        return ()
    for distance, place in enumerate(places, 1):
        if place.block is not None and place.answers > last.answers:
            return (last.block, place.block) if distance >= LOOK_BACK else (last.block,)
    return (last.block,)


def _backwards(prompt: _EndPrompt, text: Body, kinds: Container[str]) -> Iterator[_Place]:
    """Each place from the last one on. A message counts as one, too: rather too many are counted than too few."""
    answers = 0
    for message in reversed(prompt.messages):
        yield _Place(None, answers)
        yield from (_Place(None, answers) for _ in _blocks(message.tool_calls))
        yield from (_Place(block, answers) for block in _in_content(message.content, text, kinds))
        answers += memoryview(message.role) == _ASSISTANT
    yield from (_Place(block) for block in _in_content(prompt.system, text, kinds))
    yield from (_Place(LastBlock(span_of(text, tool), False)) for _, tool in _blocks(prompt.tools))


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
