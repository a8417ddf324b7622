"""What opens a conversation, as one hash for all spellings of it: the sign of those that are named by nothing else.

Its work is bounded, whatever a client writes: so many messages, so many parts, so much text are read; what goes beyond
counts as it is written, byte for byte, which a client repeats from turn to turn as well.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Raw
from xxhash import xxh3_128, xxh3_128_digest

from limpet_extproc.dialects.spans import Text, cuts, member_at, span_of
from limpet_extproc.dialects.text import as_written, decode, name

MAX_MESSAGES: Final = 32
"""From the first on; a conversation in which no user speaks among these is known by their system messages alone."""

MAX_PARTS: Final = 128
"""Of a message that are read one by one; those beyond count together."""

MAX_TEXT_BYTES: Final = 1 << 20
"""Of the opener that is read; texts and parts beyond count as they are written."""

_MAX_PART_BYTES: Final = 1 << 16
_MAX_PART_TOKENS: Final = 10_000
"""A part longer than `_MAX_PART_BYTES` is read only if it has fewer commas and brackets: an image has three."""

ABSENT: Final = Raw(b"")
"""In place of what is not there."""

_OPENERS: Final = frozenset({"system", "developer"})
_WRITTEN_USER: Final = memoryview(b'"user"')
_MAX_ROLE_BYTES: Final = 64
_QUOTE: Final = 0x22
_BRACKET: Final = 0x5B
_BRACE: Final = 0x7B
_ANSWERED: Final = re.compile(rb'"role"\s*:\s*"(?:assistant|tool)"')
_HEAD_BYTES: Final = 64
_TAIL_BYTES: Final = 512
_CACHE_MARKS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})
"""Hints that move from turn to turn and are no part of the prompt."""

MESSAGE_FIELDS: Final = [(f"m{number}", Raw, ABSENT) for number in range(MAX_MESSAGES)]

FirstMessages: Final = msgspec.defstruct("FirstMessages", MESSAGE_FIELDS, array_like=True, frozen=True, gc=False)
"""The first messages of a list. The decoder passes over those that have no place here."""

_PARTS: Final = msgspec.json.Decoder(
    msgspec.defstruct(
        "Parts", [(f"p{number}", Raw, ABSENT) for number in range(MAX_PARTS)], array_like=True, frozen=True, gc=False
    )
)


class _Message(msgspec.Struct, frozen=True, gc=False):
    role: Raw
    content: Raw = ABSENT


class _Said(msgspec.Struct, frozen=True, gc=False):
    role: str
    content: str


class _Marks(msgspec.Struct, frozen=True, gc=False):
    cache_control: Raw = ABSENT
    prompt_cache_breakpoint: Raw = ABSENT


_MESSAGE: Final = msgspec.json.Decoder(_Message)
_SAID: Final = msgspec.json.Decoder(_Said)
_MARKS: Final = msgspec.json.Decoder(_Marks)
_ANY: Final = msgspec.json.Decoder()
_CANONICAL: Final = msgspec.json.Encoder(order="deterministic")
_UNAMBIGUOUS: Final = msgspec.msgpack.Encoder()
"""Lengths stand before contents, so that no two lists of pieces read the same."""

_Piece = str | bytes


def present(messages: msgspec.Struct) -> tuple[Raw, ...]:
    """Those that are there, of `FirstMessages`."""
    found: tuple[Raw, ...] = msgspec.structs.astuple(messages)
    return found[: found.index(ABSENT)] if found[-1] is ABSENT else found


def fingerprint(messages: Sequence[Text], seen: Sequence[Text] | None = None) -> bytes:
    """System and developer messages up to the first user message inclusive. Raises BadRequest for a malformed one.

    `seen`: the same as the decoder could read them, where it could not read all that is written.
    """
    pieces: list[_Piece] = []
    left = MAX_TEXT_BYTES
    for position, (text, readable) in enumerate(zip(messages, messages if seen is None else seen, strict=True)):
        role, content = _said(text, readable, position, left)
        if role == "user" or role in _OPENERS:
            pieces.append("user" if role == "user" else "system")
            pieces += ("t", content) if isinstance(content, str) else _content(content, left)
            left -= len(memoryview(text))
        if role == "user":
            break
    return xxh3_128_digest(_UNAMBIGUOUS.encode(pieces))


def goes_on(messages: Sequence[Raw]) -> bool:
    """Whether somebody has answered in this conversation before: it cannot be its first request.

    The last but one message tells it, which in a later turn is an answer or the result of a tool. Its role stands at
    the beginning where people write it, and behind the content where an SDK does; what is between is not looked at.
    """
    if len(messages) < 2:
        return False
    if len(messages) >= MAX_MESSAGES:
        return True
    view = memoryview(messages[-2])
    # Within a text the quotes would be escaped.
    return _ANSWERED.search(view, 0, _HEAD_BYTES) is not None or (
        len(view) > _HEAD_BYTES and _ANSWERED.search(view, max(0, len(view) - _TAIL_BYTES)) is not None
    )


def _said(text: Text, readable: Text, position: int, left: int) -> tuple[str, str | Text]:
    """Role and content; the latter as it is written, unless it is a string and not too long."""
    if len(memoryview(text)) <= left:
        try:
            said = _SAID.decode(text)
        except msgspec.DecodeError:
            pass
        else:
            return said.role, said.content
    message, seen = decode(_MESSAGE, readable, f"messages[{position}]")
    content = message.content
    return _role(message.role, position), content if content is ABSENT else as_written(content, text, seen)


def _role(value: Raw, position: int) -> str:
    written = memoryview(value)
    if written == _WRITTEN_USER:
        return "user"
    if written[0] == _QUOTE and len(written) > _MAX_ROLE_BYTES:
        return ""
    return name(value, f"messages[{position}].role")


def _content(content: Text, left: int) -> list[_Piece]:
    """A string and a list with that one text part say the same and must read the same."""
    view = memoryview(content)
    if not view:
        return ["v", b"null"]
    if view[0] == _QUOTE:
        # Decodable ones that are not too long have been.
        return ["w", xxh3_128_digest(view)]
    if view[0] == _BRACKET:
        return _parts(content, left)
    return _part(content, left)


def _parts(content: Text, left: int) -> list[_Piece]:
    parts, seen = decode(_PARTS, content)
    pieces: list[_Piece] = []
    part: Text = ABSENT
    for raw in msgspec.structs.astuple(parts):
        if raw is ABSENT:
            return pieces
        part = as_written(raw, content, seen)
        pieces += _part(part, left)
        left -= len(memoryview(part))
    last = span_of(content, part)
    rest = memoryview(content)[last.offset + last.length :]
    if bytes(rest[:_MAX_ROLE_BYTES]).strip() != b"]":
        pieces += ("w", xxh3_128_digest(rest))
    return pieces


def _part(text: Text, left: int) -> list[_Piece]:
    if _is_read(memoryview(text), left):
        # What cannot be decoded (half a surrogate pair, a number beyond all) counts as it is written.
        with suppress(msgspec.MsgspecError, RecursionError):
            part = _ANY.decode(text)
            if isinstance(part, dict):
                said = part.get("text")
                if part.get("type") == "text" and isinstance(said, str):
                    return ["t", said]
                part = {key: value for key, value in part.items() if key not in _CACHE_MARKS}
            return ["v", _CANONICAL.encode(part)]
    return ["w", _written_digest(text)]


def _is_read(view: memoryview, left: int) -> bool:
    if len(view) > left:
        return False
    if len(view) <= _MAX_PART_BYTES:
        return True
    text = bytes(view)
    return sum(text.count(token) for token in (b",", b"[", b"{")) < _MAX_PART_TOKENS


def _written_digest(text: Text) -> bytes:
    """Of the bytes as they are, without cache marks."""
    view = memoryview(text)
    if view[0] != _BRACE:
        return xxh3_128_digest(view)
    marks, seen = decode(_MARKS, text)
    read = memoryview(seen)
    members = [
        member_at(read, mark, span_of(read, raw))
        for mark in _CACHE_MARKS
        if (raw := getattr(marks, mark)) is not ABSENT
    ]
    hashed, at = xxh3_128(), 0
    for cut in cuts(members):
        hashed.update(view[at : cut.offset])
        at = cut.offset + cut.length
    hashed.update(view[at:])
    return hashed.digest()
