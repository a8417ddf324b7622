"""Dynamic metadata of a ProcessingResponse as bytes: its classes would take a good part of a decision's time.

A Struct is a map, whose entries may be written one by one and joined. https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

_pack_double: Final = struct.Struct("<d").pack
_pack_two: Final = struct.Struct("<3sd3sd").pack
_LENGTHS: Final = 1024
"""Of texts for which what stands before them is kept."""
_NUMBER: Final = b"\x0a\x09\x11"
"""Goes before a double that is an element of a list."""

TRUE: Final = b"\x20\x01"
"""A Value; so are the next three."""


def number(value: float) -> bytes:
    """Value.number_value."""
    return b"\x11" + _pack_double(value)


def text(value: str) -> bytes:
    """Value.string_value."""
    content = value.encode()
    return b"\x1a" + length(content) + content


def items(values: Iterable[bytes]) -> bytes:
    """What is in a list."""
    return b"".join([b"\x0a" + length(value) + value for value in values])


def array(content: bytes) -> bytes:
    """Value.list_value of `items`."""
    return b"\x32" + length(content) + content


def table(entries: bytes) -> bytes:
    """Value.struct_value."""
    return b"\x2a" + length(entries) + entries


def entry(name: str, value: bytes) -> bytes:
    """One of a Struct's."""
    key = name.encode()
    content = b"\x0a" + length(key) + key + b"\x12" + length(value) + value
    return b"\x0a" + length(content) + content


def metadata(namespace: str, entries: bytes) -> bytes:
    """ProcessingResponse.dynamic_metadata. A message with two of the same namespace has only the second."""
    content = entry(namespace, table(entries))
    return b"\x42" + length(content) + content


def text_metadata(namespace: str, name: str) -> Callable[[str], bytes]:
    """The same of one text, for every request: what stands before the text depends on its length alone."""

    @lru_cache(maxsize=_LENGTHS)
    def before(size: int) -> bytes:
        written = metadata(namespace, entry(name, text("-" * size)))
        return written[: len(written) - size]

    def write(value: str) -> bytes:
        content = value.encode()
        return before(len(content)) + content

    return write


def splice(offset: int, size: int, value: bytes) -> bytes:
    """A list of two numbers and another Value."""
    content = _pack_two(_NUMBER, offset, _NUMBER, size) + b"\x0a" + length(value) + value
    return b"\x32" + length(content) + content


def length(content: bytes) -> bytes:
    """What stands before content of this length."""
    value = len(content)
    if value < 0x80:
        return value.to_bytes(1, "little")
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
