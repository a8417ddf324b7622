"""Where things stand in a JSON body, byte for byte, so that it can be changed without being written anew."""

import json
import re
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]:,]', re.DOTALL)
_MODEL_KEY: Final = b'"model"'
_VALUE: Final = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)*+")', re.DOTALL)
_ESCAPED_KEY: Final = b"\\u006"
"""A key can also be spelled with escapes (`"mod\\u0065l"`); only then is the plain search for it no proof.

All five of its letters begin so and no accented one does: a prompt full of `\\u00e9` must not cost a walk over all.
"""


class Span(NamedTuple):
    """`length` bytes from `offset`."""

    offset: int
    length: int


class Member(NamedTuple):
    """One `"key": value` of the top-level object; offsets of its first byte, of its value, and after its value."""

    key: bytes
    """With quotes, as written."""
    start: int
    value: int
    end: int


def model_span(body: bytes) -> Span | None:
    """The value of the top-level key `model` with its quotes; None when the key stands there twice.

    `body` is a JSON object that has been decoded and found to have a string there. Almost always the bytes `"model"`
    stand in it once, and then that is the key; only otherwise every token is looked at.
    """
    at = body.find(_MODEL_KEY)
    if (
        at >= 0
        and body.find(_MODEL_KEY, at + 1) < 0
        and _ESCAPED_KEY not in body
        and (found := _VALUE.match(body, at + 7))
    ):
        return Span(found.start(1), found.end(1) - found.start(1))
    found_members = [member for member in members(body) if _plain(member.key) == "model"]
    if len(found_members) != 1:
        return None
    member = found_members[0]
    return Span(member.value, member.end - member.value)


def members(body: bytes) -> list[Member]:
    """The members of the top-level object, in their order, doubles included. `body` must be valid JSON."""
    found: list[Member] = []
    depth = 0
    key: bytes = b""
    start = value = -1
    for token in _TOKEN.finditer(body):
        text = token[0]
        byte = text[0]
        if byte in b"{[":
            depth += 1
        elif byte in b"}]":
            depth -= 1
            if depth == 0 and value >= 0:
                found.append(_member(body, key, start, value, token.start()))
        elif depth != 1:
            continue
        elif byte == 0x22:
            if start < 0:
                key, start = text, token.start()
        elif byte == 0x3A:
            value = token.end()
        elif byte == 0x2C:
            found.append(_member(body, key, start, value, token.start()))
            start = value = -1
    return found


def _member(body: bytes, key: bytes, start: int, colon: int, stop: int) -> Member:
    raw = body[colon:stop]
    return Member(key, start, colon + len(raw) - len(raw.lstrip()), stop - (len(raw) - len(raw.rstrip())))


def cuts(body: bytes, names: frozenset[str]) -> list[Span]:
    """What to cut so that these members are gone and the rest is still an object: each with one comma."""
    all_members = members(body)
    gone = [_plain(member.key) in names for member in all_members]
    spans: list[Span] = []
    kept_before = False
    for position, member in enumerate(all_members):
        if not gone[position]:
            kept_before = True
            continue
        if kept_before:
            # The comma before it goes with it: from the end of the previous member, which is kept or already cut.
            begin, end = all_members[position - 1].end, member.end
        elif position + 1 < len(all_members):
            begin, end = member.start, all_members[position + 1].start
        else:
            begin, end = member.start, member.end
        spans.append(Span(begin, end - begin))
    return spans


def _plain(key: bytes) -> str:
    return str(json.loads(key)) if b"\\" in key else key[1:-1].decode()
