"""Conversations in Redis: their values, the script that changes them, and the same rules in Python.

A key is `lmpt:` and the 16 bytes of the conversation. Its value is MessagePack, `[version, pending, since_s, warm]`,
with `[name, until_s, prompt_tokens, cached_tokens]` for each of `warm`; docs/memory.md has the whole layout. A provider
is stored as eight characters of its name's hash: names may be 300 characters long, and there may be a million values.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Sequence
from functools import reduce
from typing import Final

import msgspec
from xxhash import xxh3_64_digest

from limpet_extproc.memory import Remembered, Warm, with_warm, without
from limpet_extproc.memory.in_process import PENDING_S

PREFIX: Final = b"lmpt:"
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


class Clear(msgspec.Struct, frozen=True, gc=False):
    """A lookup found the conversation over at `now_s`; if it still is, it is deleted."""

    now_s: float


MemoryChange = Expect | Remember | Forget | Clear


def changed(state: StoredConversation, change: MemoryChange) -> StoredConversation:
    """The conversation after a change, by the rules of `SCRIPT`."""
    match change:
        case Expect(provider, now_s):
            return state if state.warm else StoredConversation(provider, now_s)
        case Remember(warm, max_providers, now_s):
            return StoredConversation(None, 0.0, with_warm(Remembered(state.warm), warm, max_providers, now_s).warm)
        case Forget(provider):
            rest = without(Remembered(state.warm, state.pending), provider)
            return StoredConversation(rest.pending, state.since_s, rest.warm) if rest else NOTHING
        case Clear(now_s):
            return NOTHING if is_over(state, now_s) else state


def all_changed(state: StoredConversation, changes: Sequence[MemoryChange]) -> StoredConversation:
    """The conversation after several changes."""
    return reduce(changed, changes, state)


def is_over(state: StoredConversation, now_s: float) -> bool:
    """Whether all its providers have gone cold, or the outcome of its first request never came."""
    if state.warm:
        return all(warm.until_s <= now_s for warm in state.warm)
    return now_s - state.since_s > PENDING_S


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
    return StoredConversation(names.long(stored.pending) if stored.pending else None, stored.since_s, warm)


def encode(change: MemoryChange, names: ShortNames) -> bytes:
    """A change as an argument of `SCRIPT`."""
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
        case Clear(now_s):
            return _ENCODER.encode(("c", now_s))


SCRIPT: Final = f"""
local pending, since, warm = '', 0, {{}}
local found = redis.call('GET', KEYS[1])
if found then
  local readable, value = pcall(cmsgpack.unpack, found)
  if readable and type(value) == 'table' and value[1] == {VERSION} and type(value[4]) == 'table' then
    pending, since, warm = value[2], value[3], value[4]
  else
    found = false
  end
end
local touched, now = false, false
for _, argument in ipairs(ARGV) do
  local change = cmsgpack.unpack(argument)
  local kind = change[1]
  if kind == 'e' then
    if #warm == 0 then
      pending, since, now, touched = change[2], change[3], change[3], true
    end
  elseif kind == 'r' then
    now, touched = change[7], true
    local kept = {{{{change[2], change[3], change[4], change[5]}}}}
    for _, other in ipairs(warm) do
      if #kept < change[6] and other[1] ~= change[2] and other[2] > now then
        kept[#kept + 1] = other
      end
    end
    pending, since, warm = '', 0, kept
  elseif kind == 'f' then
    if pending == change[2] then
      pending, since, touched = '', 0, true
    end
    local kept = {{}}
    for _, other in ipairs(warm) do
      if other[1] ~= change[2] then
        kept[#kept + 1] = other
      else
        touched = true
      end
    end
    warm = kept
  elseif kind == 'c' then
    local over = pending == '' or change[2] - since > {PENDING_S:.0f}
    for _, each in ipairs(warm) do
      over = over and each[2] <= change[2]
    end
    if over then
      pending, since, warm, touched = '', 0, {{}}, true
    end
  end
end
if not touched then
  return found
end
if pending == '' and #warm == 0 then
  redis.call('DEL', KEYS[1])
  return false
end
local value = cmsgpack.pack({{{VERSION}, pending, since, warm}})
if now then
  local left = {PENDING_S:.0f}
  for index, each in ipairs(warm) do
    local longer = each[2] - now + {SHOWN_S:.0f}
    left = index == 1 and longer or math.max(left, longer)
  end
  redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.max(1, left * 1000)))
else
  redis.call('SET', KEYS[1], value, 'KEEPTTL')
end
return value
"""
"""Applies changes to one conversation, KEYS[1]; each of ARGV is one of them (`encode`). Returns its value afterwards.

Redis runs it as a whole, with nothing in between. A value of another version counts as none and is not returned.
"""
