"""How conversations and objects are written in Redis: keys, values and changes.

A key is `lmpt:` and the 16 bytes of the conversation. Its value is MessagePack, `[version, pending, since_s, warm]`,
with `[name, until_s, prompt_tokens, cached_tokens]` for each of `warm`. Behind it stands what earlier releases pass
over: the last failure, `[at_s, names]`, and how the conversation goes on, `[pace, cause, chains]`, with two bytes of
`Warm.settings` before each chain; docs/memory.md has the whole layout. A provider is stored as eight characters of its
name's hash: names may be 300 characters long, and there may be a million values.

The key of an object is `lmpt:o` and its 16 bytes, the value `[version, provider, owner]`. That of the heads that begin
alike is `lmpt:h` and the 8 bytes of the shortest, the value `[version, rows]`, each row `[hash, provider, until_s,
pending_s, first_turns]`.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec

from limpet_extproc.contract.reasons import CAUSE_TEXT
from limpet_extproc.memory import SETTINGS_BYTES, ConversationPace, LastFailure, Warm
from limpet_extproc.memory.head_table import DropHeads, ExpectHeads, HeadChange, HeadRow, HeadTable, NoteHeads
from limpet_extproc.memory.objects import ObjectPlace
from limpet_extproc.memory.redis.changes import (
    Clear,
    Expect,
    Forget,
    MemoryChange,
    NoteFailure,
    NotePlace,
    Remember,
    StoredConversation,
    Withdraw,
)
from limpet_extproc.memory.redis.short_names import ShortNames

PREFIX: Final = b"lmpt:"
OBJECT: Final = b"o"
HEADS: Final = b"h"
VERSION: Final = 1
MOST_NUMBER: Final = 1e15
"""No time and no count is greater; an infinite one would stay for ever."""


def redis_key(key: bytes) -> bytes:
    """The Redis key of a conversation."""
    return PREFIX + key


_Number = Annotated[float, msgspec.Meta(gt=-MOST_NUMBER, lt=MOST_NUMBER)]


class _StoredCourse(msgspec.Struct, frozen=True, gc=False, array_like=True):
    pace: tuple[int, _Number, _Number, int, _Number, _Number, int]
    cause: str
    chains: tuple[msgspec.Raw, ...]
    """Of each of `warm`; of type string, as the script knows no other for bytes. One that the first begins with, as
    that of an earlier turn mostly is, is the number of its bytes."""


class _StoredValue(msgspec.Struct, frozen=True, gc=False, array_like=True):
    version: int
    pending: str
    since_s: _Number
    warm: tuple[tuple[str, _Number, int, int], ...]
    failure: tuple[_Number, tuple[str, ...]] | None = None
    """Without names there was none."""
    course: _StoredCourse | None = None


class _StoredHeads(msgspec.Struct, frozen=True, gc=False, array_like=True):
    version: int
    rows: tuple[tuple[str, str, _Number, _Number, int], ...]


class _StoredPlace(msgspec.Struct, frozen=True, gc=False, array_like=True):
    version: int
    provider: str
    owner: str


_LONG_STRING: Final = 0xDA
_STRING_HEADERS: Final = {**dict.fromkeys(range(0xA0, 0xC0), 1), 0xD9: 2, _LONG_STRING: 3}
"""How many bytes stand before a string's own, by the first of them."""
_NUMBER: Final = msgspec.msgpack.Decoder(int)


def _wrapped(chain: bytes) -> msgspec.Raw:
    """As a string of MessagePack, which may be of any bytes to whoever does not decode it."""
    return msgspec.Raw(bytes((_LONG_STRING, *len(chain).to_bytes(2, "big"))) + chain)


_UNKNOWN: Final = b"\0" * SETTINGS_BYTES
"""Stands for settings that are not known."""


def _with_settings(warm: Warm) -> bytes:
    return (warm.settings or _UNKNOWN) + warm.chain if warm.chain else b""


def _settings(stored: bytes) -> bytes:
    found = stored[:SETTINGS_BYTES]
    return b"" if found == _UNKNOWN else found


def _unwrapped(chains: Sequence[msgspec.Raw]) -> Iterator[bytes]:
    """Raises MsgspecError."""
    first = b""
    for raw in chains:
        view = memoryview(raw)
        header = _STRING_HEADERS.get(view[0])
        chain = first[: _NUMBER.decode(view)] if header is None else bytes(view[header:])
        first = first or chain
        yield chain


HASH_CHARS: Final = 11
"""Of a hash's 8 bytes in base64, without what fills it up."""


def _hash_text(hash_: bytes) -> str:
    return urlsafe_b64encode(hash_)[:HASH_CHARS].decode()


_HEADS_DECODER: Final = msgspec.msgpack.Decoder(_StoredHeads)
_PLACE_DECODER: Final = msgspec.msgpack.Decoder(_StoredPlace)
_DECODER: Final = msgspec.msgpack.Decoder(_StoredValue)
_ENCODER: Final = msgspec.msgpack.Encoder()


def decode(value: bytes, names: ShortNames) -> StoredConversation | None:
    """The conversation in a value; None if another version wrote it."""
    try:
        stored = _DECODER.decode(value)
        chains = tuple(_unwrapped(stored.course.chains)) if stored.course else ()
    except msgspec.MsgspecError:
        return None
    if stored.version != VERSION:
        return None
    course = stored.course
    if len(chains) != len(stored.warm):
        chains = (b"",) * len(stored.warm)
    warm = tuple(
        Warm(names.long(short), until_s, prompt, cached, chain[SETTINGS_BYTES:], _settings(chain))
        for (short, until_s, prompt, cached), chain in zip(stored.warm, chains, strict=True)
    )
    failure = None
    if stored.failure is not None and stored.failure[1]:
        at_s, failed = stored.failure
        failure = LastFailure(tuple(names.long(short) for short in failed), at_s)
    pending = names.long(stored.pending) if stored.pending else None
    if course is None:
        return StoredConversation(pending, stored.since_s, warm, failure)
    cause = course.cause if CAUSE_TEXT.fullmatch(course.cause) else ""
    return StoredConversation(pending, stored.since_s, warm, failure, ConversationPace(*course.pace), cause)


def decode_place(value: bytes, names: ShortNames) -> ObjectPlace | None:
    """Where the object of a value lives; None if another version wrote it."""
    try:
        stored = _PLACE_DECODER.decode(value)
    except msgspec.MsgspecError:
        return None
    return ObjectPlace(names.long(stored.provider), stored.owner) if stored.version == VERSION else None


def decode_heads(value: bytes, names: ShortNames) -> HeadTable | None:
    """The table of heads in a value; None if another version wrote it."""
    try:
        stored = _HEADS_DECODER.decode(value)
        if stored.version != VERSION:
            return None
        rows = [
            HeadRow(urlsafe_b64decode(f"{text}="), names.long(short), until_s, pending_s, first_turns)
            for text, short, until_s, pending_s, first_turns in stored.rows
        ]
    except (msgspec.MsgspecError, ValueError):
        return None
    return {(row.hash, row.provider): row for row in rows}


def encode(change: MemoryChange, names: ShortNames) -> bytes:
    """A change as an argument of `script.SCRIPT`."""
    match change:
        case Expect(provider, now_s):
            return _ENCODER.encode(("e", names.short(provider), now_s))
        case Remember(warm, max_providers, now_s, turn):
            short = names.short(warm.provider)
            place = (short, warm.until_s, warm.prompt_tokens, warm.cached_tokens, _wrapped(_with_settings(warm)))
            return _ENCODER.encode(("r", place, max_providers, now_s, turn and msgspec.structs.astuple(turn)))
        case Forget(provider):
            return _ENCODER.encode(("f", names.short(provider)))
        case Withdraw(provider):
            return _ENCODER.encode(("w", names.short(provider)))
        case NoteFailure(failure):
            return _ENCODER.encode(("x", failure.at_s, [names.short(name) for name in failure.providers]))
        case Clear(now_s):
            return _ENCODER.encode(("c", now_s))
        case NotePlace(place):
            return _ENCODER.encode(("p", names.short(place.provider), place.owner))
        case ExpectHeads() | NoteHeads() | DropHeads():
            return _encode_heads(change, names)


def _encode_heads(change: HeadChange, names: ShortNames) -> bytes:
    match change:
        case ExpectHeads(hashes, provider, now_s):
            return _ENCODER.encode(("he", [*map(_hash_text, hashes)], names.short(provider), now_s))
        case NoteHeads(hashes, provider, until_s, now_s):
            return _ENCODER.encode(("hn", [*map(_hash_text, hashes)], names.short(provider), now_s, until_s))
        case DropHeads(hashes, provider):
            return _ENCODER.encode(("hd", [*map(_hash_text, hashes)], names.short(provider)))
