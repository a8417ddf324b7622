"""Envoy's messages as bytes: what would be copied or refused by the classes made for them.

Protocol Buffers wire format: https://protobuf.dev/programming-guides/encoding/
"""

import re
from collections.abc import Iterator
from typing import Final

_REQUEST_BODY: Final = 4
"""ProcessingRequest.request_body"""
_BODY: Final = 1
"""HttpBody.body"""
_LENGTH_DELIMITED: Final = 2
_BODY_IN_FRONT: Final = re.compile(rb"\x22(?P<outer>[\x80-\xff]{0,4}[\0-\x7f])\x0a(?P<body>[\x80-\xff]{0,4}[\0-\x7f])")
"""Field 4, a length, field 1 of what is in it, and another length."""
_ENDS: Final = (b"", b"\x10\x01")
"""What stands behind a body in its field: nothing, or that it is the last."""
_LINE: Final = re.compile(rb"(?P<name>[a-z0-9:_-]+) (?P<value>[^\n]*)", re.ASCII)


def body_apart(message: bytes | memoryview) -> tuple[bytes, memoryview]:
    """A ProcessingRequest without its body, and a view of the body. Raises ValueError if it is not such a message."""
    view = memoryview(message)
    rest, body = bytearray(), view[:0]
    for number, field, content in _fields(view):
        if number == _REQUEST_BODY and content is not None:
            body = next((inner for inner_number, _, inner in _fields(content) if inner_number == _BODY and inner), body)
        else:
            rest += field
    return bytes(rest), body


def body_in_front(message: bytes | memoryview) -> tuple[memoryview, memoryview] | None:
    """The body of a ProcessingRequest and what follows it, where the body comes first and whole, as Envoy writes it.

    None: it does not. What follows may still say otherwise, as the last of several bodies counts.
    """
    begin = _BODY_IN_FRONT.match(message)
    if begin is None:
        return None
    outer, body = begin.group("outer", "body")
    view, start = memoryview(message), begin.end()
    end, stop = start + _number(body), start - len(body) - 1 + _number(outer)
    if not end <= stop <= len(view) or bytes(view[end:stop]) not in _ENDS:
        return None
    return view[start:end], view[stop:]


def not_utf8(head: bytes) -> str | None:
    """The first of the header lines in these bytes whose value is not UTF-8; None if none stands out."""
    for line in _LINE.finditer(head):
        try:
            line["value"].decode()
        except UnicodeDecodeError:
            return line["name"].decode()
    return None


def path_of(head: bytes) -> str:
    """The path in these bytes of header lines; empty if there is none."""
    lines = (line["value"] for line in _LINE.finditer(head) if line["name"] == b":path")
    return next(lines, b"").decode("utf-8", "replace")


def _fields(view: memoryview) -> Iterator[tuple[int, memoryview, memoryview | None]]:
    """Number, bytes and, if it has a length, content of each field."""
    at = 0
    while at < len(view):
        begin = at
        key, at = _varint(view, at)
        kind, content = key & 7, None
        if kind == _LENGTH_DELIMITED:
            length, at = _varint(view, at)
            content = view[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(view, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"no field begins at byte {begin}")
        if at > len(view):
            raise ValueError(f"the field at byte {begin} is cut off")
        yield key >> 3, view[begin:at], content


def _number(varint: bytes) -> int:
    value = 0
    for byte in reversed(varint):
        value = value << 7 | byte & 0x7F
    return value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view):
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number is cut off")
