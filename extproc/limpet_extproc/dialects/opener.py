"""The opening of a conversation as one hash for all its spellings: it identifies those that nothing else names.

Its work is bounded, whatever a client writes: only so many messages, parts and bytes of text are decoded. What goes
beyond is hashed as it is written, byte for byte, which a client repeats from turn to turn as well.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Raw
from xxhash import xxh3_128, xxh3_128_digest

from limpet_extproc.dialects.port import BadRequestError
from limpet_extproc.dialects.spans import Text, cuts, member_at, span_of
from limpet_extproc.dialects.text import as_written, decode, name

MAX_MESSAGES: Final = 32
"""From the first on; if none of these is a user's, the system messages alone identify the conversation."""

READ_MESSAGES: Final = 128
"""From the first on, that the decoder hands out in one pass."""

MAX_PARTS: Final = 128
"""Of a message that are decoded one by one; those beyond are hashed together."""

MAX_TEXT_BYTES: Final = 1 << 20
"""Of the opener that is decoded; texts and parts beyond are hashed as they are written."""

_MAX_PART_BYTES: Final = 1 << 16
_MAX_PART_TOKENS: Final = 10_000
"""A part longer than `_MAX_PART_BYTES` is decoded only if it has fewer commas and brackets: an image has three."""

ABSENT: Final = Raw(b"")
"""Stands for a missing value."""

_OPENERS: Final = frozenset({"system", "developer"})
_TEXTS: Final = ("text", "input_text")
"""Types of a part that is a text alone."""
_WRITTEN_USER: Final = memoryview(b'"user"')
_WRITTEN_NULL: Final = memoryview(b"null")
_MAX_ROLE_BYTES: Final = 64
_QUOTE: Final = 0x22
_BRACKET: Final = 0x5B
_BRACE: Final = 0x7B
_ANSWERED: Final = re.compile(rb'"role"\s*:\s*"(?:assistant|tool)"')
_HEAD_BYTES: Final = 64
_TAIL_BYTES: Final = 512
_CACHE_MARKS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})
"""Hints that move from turn to turn and are no part of the prompt."""

MESSAGE_FIELDS: Final = [(f"m{number}", Raw, ABSENT) for number in range(READ_MESSAGES)]

FirstMessages: Final = msgspec.defstruct("FirstMessages", MESSAGE_FIELDS, array_like=True, frozen=True, gc=False)
"""The first messages of a list. The decoder skips the others."""

_PARTS: Final = msgspec.json.Decoder(
    msgspec.defstruct(
        "Parts", [(f"p{number}", Raw, ABSENT) for number in range(MAX_PARTS)], array_like=True, frozen=True, gc=False
    )
)


class _Message(msgspec.Struct, frozen=True, gc=False):
    role: Raw = ABSENT
    content: Raw = ABSENT


class _TextMessage(msgspec.Struct, frozen=True, gc=False):
    role: str
    content: str


class _Marks(msgspec.Struct, frozen=True, gc=False):
    cache_control: Raw = ABSENT
    prompt_cache_breakpoint: Raw = ABSENT


_MESSAGE: Final = msgspec.json.Decoder(_Message)
_TEXT_MESSAGE: Final = msgspec.json.Decoder(_TextMessage)
_MARKS: Final = msgspec.json.Decoder(_Marks)
_STR: Final = msgspec.json.Decoder(str)
_ANY: Final = msgspec.json.Decoder()
_CANONICAL: Final = msgspec.json.Encoder(order="deterministic")
_UNAMBIGUOUS: Final = msgspec.msgpack.Encoder()
"""Lengths stand before contents, so that no two lists of pieces read the same."""

_Piece = str | bytes


def present(messages: msgspec.Struct) -> tuple[Raw, ...]:
    """The messages in a `FirstMessages`."""
    found: tuple[Raw, ...] = msgspec.structs.astuple(messages)
    return found[: found.index(ABSENT)] if found[-1] is ABSENT else found


def fingerprint(
    messages: Sequence[Text],
    seen: Sequence[Text] | None = None,
    system: Text = ABSENT,
    prompt: Text = ABSENT,
    items: bool = False,
) -> bytes:
    """System and developer messages up to the first user message inclusive. Raises BadRequestError for a malformed one.

    `seen`: the same as the decoder could read them, where it could not read all that is written. `system` stands before
    all messages, where an API has a field for it; `prompt` is a user's, where it has one instead of messages. Both are
    texts or lists of parts, as written. `items`: the list has others than messages, without a role.
    """
    pieces: list[_Piece] = []
    budget = MAX_TEXT_BYTES
    if system is not ABSENT:
        pieces = _field("system", system, budget)
        budget -= len(memoryview(system))
    if prompt is not ABSENT:
        return xxh3_128_digest(_UNAMBIGUOUS.encode(pieces + _field("user", prompt, budget)))
    for position, text in enumerate(messages[:MAX_MESSAGES]):
        size = len(memoryview(text))
        role, content = _role_and_content(text, seen[position] if seen else text, position, size <= budget, items)
        if role == "user" or role in _OPENERS:
            pieces.append("user" if role == "user" else "system")
            pieces += ("t", content) if isinstance(content, str) else _content(content, budget)
            budget -= size
        if role == "user":
            break
    return xxh3_128_digest(_UNAMBIGUOUS.encode(pieces))


def has_history(messages: Sequence[Raw]) -> bool:
    """Whether this conversation already has an answer: then this is not its first request.

    The last message but one shows it: in a later turn that is an answer or the result of a tool; or the one before, as
    the last may be the beginning of the answer that is asked for. The role stands at the beginning where people write
    it, and behind the content where an SDK does; what is between is not searched.
    """
    if len(messages) < 2:
        return False
    if len(messages) >= MAX_MESSAGES or _is_answer(messages[-2]):
        return True
    return len(messages) > 2 and _is_answer(messages[-3])


def _is_answer(message: Raw) -> bool:
    view = memoryview(message)
    # Within a text the quotes would be escaped.
    return _ANSWERED.search(view, 0, _HEAD_BYTES) is not None or (
        len(view) > _HEAD_BYTES and _ANSWERED.search(view, max(0, len(view) - _TAIL_BYTES)) is not None
    )


def _field(role: str, value: Text, budget: int) -> list[_Piece]:
    view = memoryview(value)
    if not view or view == _WRITTEN_NULL:
        return []
    if view[0] == _QUOTE and len(view) <= budget:
        with suppress(msgspec.DecodeError):
            return [role, "t", _STR.decode(value)]
    return [role, *_content(value, budget)]


def _role_and_content(text: Text, readable: Text, position: int, short: bool, items: bool) -> tuple[str, str | Text]:
    """Role and content; the latter as written, unless it is a string and not too long."""
    if short:
        try:
            message = _TEXT_MESSAGE.decode(text)
        except msgspec.DecodeError:
            pass
        else:
            return message.role, message.content
    where = f"{'input' if items else 'messages'}[{position}]"
    other, seen = decode(_MESSAGE, readable, where)
    content = other.content
    if other.role is not ABSENT:
        role = _role(other.role, f"{where}.role")
    elif items:
        role = ""
    else:
        raise BadRequestError(f"{where}.role", f"'{where}.role' is missing")
    return role, content if content is ABSENT else as_written(content, text, seen)


def _role(value: Raw, field: str) -> str:
    written = memoryview(value)
    if written == _WRITTEN_USER:
        return "user"
    if written[0] == _QUOTE and len(written) > _MAX_ROLE_BYTES:
        return ""
    return name(value, field)


def _content(content: Text, budget: int) -> list[_Piece]:
    """A string and a list with that one text part mean the same and must hash the same."""
    view = memoryview(content)
    if not view:
        return ["v", b"null"]
    if view[0] == _QUOTE:
        # One that can be decoded and is not too long has been.
        return ["w", xxh3_128_digest(view)]
    if view[0] == _BRACKET:
        return _parts(content, budget)
    return _part(content, budget)


def _parts(content: Text, budget: int) -> list[_Piece]:
    parts, seen = decode(_PARTS, content)
    pieces: list[_Piece] = []
    part: Text = ABSENT
    for raw in msgspec.structs.astuple(parts):
        if raw is ABSENT:
            return pieces
        part = as_written(raw, content, seen)
        pieces += _part(part, budget)
        budget -= len(memoryview(part))
    last = span_of(content, part)
    rest = memoryview(content)[last.offset + last.length :]
    if bytes(rest[:_MAX_ROLE_BYTES]).strip() != b"]":
        pieces += ("w", xxh3_128_digest(rest))
    return pieces


def _part(text: Text, budget: int) -> list[_Piece]:
    if _is_read(memoryview(text), budget):
        # What cannot be decoded (half a surrogate pair, a huge number) is hashed as written.
        with suppress(msgspec.MsgspecError, RecursionError):
            part = _ANY.decode(text)
            if isinstance(part, dict):
                content = part.get("text")
                if part.get("type") in _TEXTS and isinstance(content, str):
                    return ["t", content]
                part = {key: value for key, value in part.items() if key not in _CACHE_MARKS}
            return ["v", _CANONICAL.encode(part)]
    return ["w", _written_digest(text)]


def _is_read(view: memoryview, budget: int) -> bool:
    if len(view) > budget:
        return False
    if len(view) <= _MAX_PART_BYTES:
        return True
    text = bytes(view)
    return sum(text.count(token) for token in (b",", b"[", b"{")) < _MAX_PART_TOKENS


def _written_digest(text: Text) -> bytes:
    """A hash of the bytes as they are, without cache marks."""
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
