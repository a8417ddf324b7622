"""Conversations in Redis: their values, the changes to them, and the rules of these in Python.

A key is `lmpt:` and the 16 bytes of the conversation. Its value is MessagePack, `[version, pending, since_s, warm]`,
with `[name, until_s, prompt_tokens, cached_tokens]` for each of `warm`, and after a failure a fifth element `[at_s,
names]`, which earlier releases pass over; docs/memory.md has the whole layout. A provider is stored as eight characters
of its name's hash: names may be 300 characters long, and there may be a million values.

The key of an object is `lmpt:o` and its 16 bytes, the value `[version, provider, owner]`.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Sequence
from functools import reduce
from typing import Final

import msgspec
from xxhash import xxh3_64_digest

from limpet_extproc.memory import LastFailure, Remembered, Warm, with_failure, with_warm, without
from limpet_extproc.memory.in_process import PENDING_S
from limpet_extproc.memory.objects import ObjectPlace

PREFIX: Final = b"lmpt:"
OBJECT: Final = b"o"
VERSION: Final = 1

SHOWN_S: Final = 300.0
"""How long a cold conversation is kept, so that the reason of its next request can be that it went cold."""


def redis_key(key: bytes) -> bytes:
    """The Redis key of a conversation."""
    return PREFIX + key


class StoredConversation(msgspec.Struct, frozen=True, gc=False):
    """One conversation as stored in Redis, with the names of providers."""

    pending: str | None = None
    since_s: float = 0.0
    """When the pending request was sent."""
    warm: tuple[Warm, ...] = ()
    failure: LastFailure | None = None

    def remembered(self) -> Remembered:
        """As decisions see it."""
        return Remembered(self.warm, self.pending, self.failure)


NOTHING: Final = StoredConversation()


class Expect(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.expect`."""

    provider: str
    now_s: float


class Remember(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.remember`."""

    warm: Warm
    max_providers: int
    now_s: float


class Forget(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.forget`."""

    provider: str


class NoteFailure(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.note_failure`."""

    failure: LastFailure


class Clear(msgspec.Struct, frozen=True, gc=False):
    """A lookup found the conversation over at `now_s`; if it still is, it is deleted."""

    now_s: float


class NotePlace(msgspec.Struct, frozen=True, gc=False):
    """See `ObjectMemory.note_place`; of a key that is an object's."""

    place: ObjectPlace


MemoryChange = Expect | Remember | Forget | NoteFailure | Clear | NotePlace


def changed(state: StoredConversation, change: MemoryChange) -> StoredConversation:
    """The conversation after a change, by the rules of `script.SCRIPT`."""
    match change:
        case Expect(provider, now_s):
            return state if state.warm else StoredConversation(provider, now_s, (), state.failure)
        case Remember(warm, max_providers, now_s):
            return _stored(with_warm(state.remembered(), warm, max_providers, now_s))
        case Forget(provider):
            rest = without(state.remembered(), provider)
            return _stored(rest, state.since_s) if rest else NOTHING
        case NoteFailure(failure):
            return _stored(with_failure(state.remembered(), failure), state.since_s)
        case Clear(now_s):
            return NOTHING if is_over(state, now_s) else state
        case NotePlace():
            return state


def _stored(remembered: Remembered, since_s: float = 0.0) -> StoredConversation:
    pending = remembered.pending
    return StoredConversation(pending, since_s if pending else 0.0, remembered.warm, remembered.failure)


def all_changed(state: StoredConversation, changes: Sequence[MemoryChange]) -> StoredConversation:
    """The conversation after several changes."""
    return reduce(changed, changes, state)


def is_over(state: StoredConversation, now_s: float) -> bool:
    """Whether all its providers have gone cold, the outcome of its first request never came, or its failure is old."""
    if state.warm:
        return all(warm.until_s <= now_s for warm in state.warm)
    if state.pending is not None:
        return now_s - state.since_s > PENDING_S
    return not state.remembered().failed_lately(now_s)


class ShortNames:
    """Short names of providers and back. `providers` returns those in force, the same object while unchanged."""

    def __init__(self, providers: Callable[[], Collection[str]]) -> None:
        self._providers = providers
        self._indexed: Collection[str] | None = None
        self._short: dict[str, str] = {}
        self._long: dict[str, str] = {}

    def short(self, name: str) -> str:
        """Eight characters, the same in every process."""
        short = self._short.get(name)
        if short is None:
            if len(self._short) >= _MAX_NAMES:
                self._short.clear()
                self._long.clear()
                self._indexed = None
            short = self._short[name] = urlsafe_b64encode(xxh3_64_digest(name.encode())[:6]).decode()
            self._long[short] = name
        return short

    def long(self, short: str) -> str:
        """The provider's name; for one that this process has never seen, a text that is no provider's name."""
        name = self._long.get(short)
        if name is None and (providers := self._providers()) is not self._indexed:
            self._indexed = providers
            for each in providers:
                self.short(each)
            name = self._long.get(short)
        return name or f"?{short}"


_MAX_NAMES: Final = 100_000
"""Of providers that existed at some time; a bound for processes that run for years."""


class _StoredValue(msgspec.Struct, frozen=True, gc=False, array_like=True):
    version: int
    pending: str
    since_s: float
    warm: tuple[tuple[str, float, int, int], ...]
    failure: tuple[float, tuple[str, ...]] | None = None


class _StoredPlace(msgspec.Struct, frozen=True, gc=False, array_like=True):
    version: int
    provider: str
    owner: str


_PLACE: Final = msgspec.msgpack.Decoder(_StoredPlace)
_DECODER: Final = msgspec.msgpack.Decoder(_StoredValue)
_ENCODER: Final = msgspec.msgpack.Encoder()


def decode(value: bytes, names: ShortNames) -> StoredConversation | None:
    """The conversation in a value; None if another version wrote it."""
    try:
        stored = _DECODER.decode(value)
    except msgspec.MsgspecError:
        return None
    if stored.version != VERSION:
        return None
    warm = tuple(Warm(names.long(short), until_s, prompt, cached) for short, until_s, prompt, cached in stored.warm)
    failure = None
    if stored.failure is not None:
        at_s, failed = stored.failure
        failure = LastFailure(tuple(names.long(short) for short in failed), at_s)
    return StoredConversation(names.long(stored.pending) if stored.pending else None, stored.since_s, warm, failure)


def decode_place(value: bytes, names: ShortNames) -> ObjectPlace | None:
    """Where the object of a value lives; None if another version wrote it."""
    try:
        stored = _PLACE.decode(value)
    except msgspec.MsgspecError:
        return None
    return ObjectPlace(names.long(stored.provider), stored.owner) if stored.version == VERSION else None


def encode(change: MemoryChange, names: ShortNames) -> bytes:
    """A change as an argument of `script.SCRIPT`."""
    match change:
        case Expect(provider, now_s):
            return _ENCODER.encode(("e", names.short(provider), now_s))
        case Remember(warm, max_providers, now_s):
            short = names.short(warm.provider)
            return _ENCODER.encode(
                ("r", short, warm.until_s, warm.prompt_tokens, warm.cached_tokens, max_providers, now_s)
            )
        case Forget(provider):
            return _ENCODER.encode(("f", names.short(provider)))
        case NoteFailure(failure):
            return _ENCODER.encode(("x", failure.at_s, [names.short(name) for name in failure.providers]))
        case Clear(now_s):
            return _ENCODER.encode(("c", now_s))
        case NotePlace(place):
            return _ENCODER.encode(("p", names.short(place.provider), place.owner))
