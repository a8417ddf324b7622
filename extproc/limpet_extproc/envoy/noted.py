"""What filters noted as dynamic metadata, as a log entry has it: a `google.protobuf.Struct` in bytes.

Of the two forms that nearly every entry has, a text alone and a table of numbers, the bytes themselves are read: by the
classes that are made for a Struct that takes twice as long. https://protobuf.dev/programming-guides/encoding/
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.struct_pb2 import Struct

Noted: TypeAlias = Mapping[str, bytes]
"""By namespace."""

_LENGTH: Final = rb"[\x80-\xff]*[\0-\x7f]"


def fields(struct: bytes | None) -> Mapping[str, Any]:
    """The `google.protobuf.Value` of each name; none where nothing was noted. Raises DecodeError."""
    if struct is None:
        return {}
    found: Mapping[str, Any] = Struct.FromString(struct).fields
    return found


def only_text(name: str) -> Callable[[bytes], str]:
    """Reads the text of this name from a Struct; empty if it has none. Raises DecodeError."""
    key = name.encode()
    before = rb"\x0a" + _LENGTH + rb"\x0a" + re.escape(bytes([len(key)]) + key) + rb"\x12" + _LENGTH
    # An entry begins with a line feed: without one in the text there is no second entry.
    form = re.compile(before + rb"\x1a" + _LENGTH + rb"([^\n]*)").fullmatch

    def read(struct: bytes) -> str:
        if (usual := form(struct)) is not None:
            return usual[1].decode()
        found = fields(struct)
        return str(found[name].string_value) if name in found else ""

    return read


def numbers(struct: bytes) -> list[tuple[bytes, bytes]]:
    """The names in a Struct that is a table of numbers, or has one and nothing else; each with a double in bytes.

    Names are of small letters and underscores.
    """
    return _each_number(struct)


_each_number: Final = re.compile(rb"\x0a.\x0a.([a-z_]+)\x12\x09\x11(.{8})", re.DOTALL).findall
"""Entries of a Struct whose values are numbers; no name is so long that a length takes more than a byte."""
