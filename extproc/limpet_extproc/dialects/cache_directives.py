"""What a request says about the prompt caches of providers, and where: a body that says nothing is only searched."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from limpet_extproc.dialects.opener import ABSENT
from limpet_extproc.dialects.port import BadRequestError, CacheDirectives
from limpet_extproc.dialects.spans import Body, Member, member_at, span_of
from limpet_extproc.dialects.text import begin_of, decode, find

MAX_MARKS: Final = 64
"""Vendors take four; of more than these none is mentioned."""

MAX_OBJECTS: Final = 100_000
"""In a body that is looked into; all of them are decoded, which takes about a tenth of a microsecond each."""

_FEW_BYTES: Final = 1 << 17
"""A shorter body need not be counted."""

_KEY: Final = b'"cache_control"'
_BEFORE: Final = _KEY.index(b"_")
_FEW: Final = 4
"""Bytes `_` of a body without code, in the names of fields."""
_FIVE_MINUTES_S: Final = 300.0
_LIFETIMES_S: Final = {None: _FIVE_MINUTES_S, "5m": _FIVE_MINUTES_S, "1h": 3600.0}
"""Of a breakpoint, by its `ttl` (Anthropic, prompt caching guide, 2026)."""
_LIFETIME: Final = re.compile(r"([1-9]\d{0,3})([smhd])")
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_IN_MEMORY: Final = ("in_memory", "in-memory")
_IN_MEMORY_S: Final = 300.0
"""OpenAI keeps such an entry for five to ten minutes after its last use (prompt caching guide, 2026)."""


class _HasMark(msgspec.Struct, frozen=True, gc=False):
    cache_control: Raw = ABSENT


_Content = list[_HasMark] | str | None


class _BlockMarks(_HasMark, frozen=True, gc=False):
    content: Raw = ABSENT
    """Of a tool's result: a text, or blocks that may have breakpoints as well (Anthropic's SDK, 2026)."""

    def inner(self) -> list[_HasMark]:
        """Its blocks."""
        if begin_of(self.content) != b"[":
            return []
        try:
            return _INNER_BLOCKS.decode(self.content)
        except (msgspec.MsgspecError, RecursionError):
            return []


_INNER_BLOCKS: Final = msgspec.json.Decoder(list[_HasMark])


class _MessageMarks(msgspec.Struct, frozen=True, gc=False):
    content: list[_BlockMarks] | str | None = None


class _ChatMessageMarks(_HasMark, frozen=True, gc=False):
    content: _Content = None


class _MessagesPrompt(_HasMark, frozen=True, gc=False, kw_only=True):
    messages: list[_MessageMarks]
    system: _Content = None
    tools: list[_HasMark] | None = None

    def marked(self) -> list[Raw]:
        """Each `cache_control` of a block."""
        contents = [message.content for message in self.messages]
        inner = (block.inner() for blocks in contents if isinstance(blocks, list) for block in blocks)
        return _marked((self.tools, self.system, *contents, *inner))


class _ChatPrompt(_HasMark, frozen=True, gc=False, kw_only=True):
    messages: list[_ChatMessageMarks]
    tools: list[_HasMark] | None = None

    def marked(self) -> list[Raw]:
        """Each `cache_control` of a part, a tool, or a message, where gateways to Anthropic's models take it."""
        return _marked((self.tools, self.messages, *(message.content for message in self.messages)))


def _marked(lists: tuple[Sequence[_HasMark] | str | None, ...]) -> list[Raw]:
    return [
        each.cache_control
        for blocks in lists
        if isinstance(blocks, list)
        for each in blocks
        if each.cache_control is not ABSENT
    ]


class _AskedLifetime(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    ttl: str | None = None


class _Options(msgspec.Struct, frozen=True, gc=False):
    ttl: str | None = None


MessagesPrompt: Final = msgspec.json.Decoder(_MessagesPrompt)
ChatPrompt: Final = msgspec.json.Decoder(_ChatPrompt)
"""How marks are found in the bodies of each API."""

_CACHE_CONTROL: Final = msgspec.json.Decoder(_AskedLifetime)
_LASTS: Final[msgspec.json.Decoder[_Options | str | None]] = msgspec.json.Decoder(_Options | str | None)
_OBJECT_OR_NULL: Final = (b"{", b"n")


def cache_directives(
    text: Body,
    prompt: msgspec.json.Decoder[Any] | None,
    *,
    has_key: bool = False,
    retention: Raw = ABSENT,
    options: Raw = ABSENT,
) -> CacheDirectives | None:
    """What the body says; None: nothing.

    `prompt` is `MessagesPrompt` or `ChatPrompt`, or None where there is no `cache_control`. `retention` and `options`
    are the values of `prompt_cache_retention` and `prompt_cache_options`, views into `text`. What has a wrong shape is
    the provider's to complain of, and not mentioned here; nor is `cache_control` if it is never spelled plainly.
    """
    found = _breakpoints(text, prompt) if prompt is not None and mentions_mark(text) else _NO_BREAKPOINTS
    if found is _NO_BREAKPOINTS and not has_key and retention is ABSENT and options is ABSENT:
        return None
    fields = (("prompt_cache_retention", retention), ("prompt_cache_options", options))
    return CacheDirectives(
        top_level=found.top_level,
        marks=found.marks,
        marks_ttl_s=_shortest_s(found.lasts_s),
        has_key=has_key,
        retention=tuple(
            member_at(memoryview(text), name, span_of(text, raw)) for name, raw in fields if raw is not ABSENT
        ),
        retention_ttl_s=_shortest_s([_lasts_s(raw) for _, raw in fields]),
    )


def _shortest_s(lasts_s: Sequence[float | None]) -> float | None:
    said = [each for each in lasts_s if each is not None]
    return None if _UNKNOWN in said else min(said, default=None)


def is_looked_into(body: Body) -> bool:
    """Whether its blocks are, one by one."""
    return len(body) <= _FEW_BYTES or body.count(b"{") <= MAX_OBJECTS


def mentions_mark(text: Body) -> bool:
    """Whether the key is anywhere in it. Prose hardly has a `_`, and a single byte is found much faster than a word."""
    at = -1
    for _ in range(_FEW):
        at = text.find(b"_", at + 1)
        if at < 0:
            return False
        if text.startswith(_KEY, at - _BEFORE):
            return True
    return find(text, _KEY, at) >= 0


class _Breakpoints(NamedTuple):
    top_level: Member | None = None
    marks: tuple[Member, ...] = ()
    lasts_s: tuple[float, ...] = ()


_NO_BREAKPOINTS: Final = _Breakpoints()
_UNKNOWN: Final = -1.0
"""A lifetime that a provider may know."""


def _breakpoints(text: Body, prompt: msgspec.json.Decoder[Any]) -> _Breakpoints:
    if not is_looked_into(text):
        return _NO_BREAKPOINTS
    try:
        read, seen = decode(prompt, text)
    except BadRequestError:
        return _NO_BREAKPOINTS
    marks = read.marked()
    if len(marks) > MAX_MARKS:
        return _NO_BREAKPOINTS
    marks = [raw for raw in marks if begin_of(raw) in _OBJECT_OR_NULL]
    top_level = read.cache_control if begin_of(read.cache_control) in _OBJECT_OR_NULL else ABSENT
    if not marks and top_level is ABSENT:
        return _NO_BREAKPOINTS
    view = memoryview(seen)
    members = (member_at(view, "cache_control", span_of(seen, raw)) for raw in marks)
    return _Breakpoints(
        None if top_level is ABSENT else member_at(view, "cache_control", span_of(seen, top_level)),
        tuple(sorted(members, key=lambda member: member.start)),
        tuple(_breakpoint_s(raw) for raw in (top_level, *marks) if begin_of(raw) == b"{"),
    )


def _breakpoint_s(value: Raw) -> float:
    try:
        read = _CACHE_CONTROL.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return _UNKNOWN
    return _LIFETIMES_S.get(read.ttl, _UNKNOWN) if read.type == "ephemeral" else _UNKNOWN


def _lasts_s(value: Raw) -> float | None:
    """What `prompt_cache_retention` or the `ttl` of `prompt_cache_options` asks for; None: nothing."""
    if value is ABSENT:
        return None
    try:
        read = _LASTS.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return _UNKNOWN
    word = read.ttl if isinstance(read, _Options) else read
    if word is None:
        return None
    if word in _IN_MEMORY:
        return _IN_MEMORY_S
    found = _LIFETIME.fullmatch(word)
    return int(found[1]) * _UNITS_S[found[2]] if found else _UNKNOWN
