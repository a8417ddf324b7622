"""Where things stand in a JSON body, byte for byte, so that it can be edited without being written again.

Nothing here walks over the text: the decoder has done so, and what it found lies in the same memory.
"""

import ctypes
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import Raw

Body = bytes | bytearray
"""Of a request, whole, to be read."""

Text = bytes | bytearray | Raw | memoryview
"""Bytes of a body, or a view into them."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_WHITE: Final = b" \t\r\n"
_NEAR: Final = 64

_LONGEST_KEY: Final = 256
"""Bytes of a name that is looked for, every letter of it as an escape, and some more."""


class Span(NamedTuple):
    """`length` bytes from `offset`."""

    offset: int
    length: int


class Member(NamedTuple):
    """One `"key": value` of an object, and its neighbours: what has to go with it when it is cut."""

    name: str
    start: int
    """Of the key, quotes included."""
    value: int
    end: int
    """After the value."""
    before: int
    """After the value of the member before it; -1: it is the first."""
    after: int
    """Where the member after it starts; -1: it is the last."""


class _Buffer(ctypes.Structure):
    """Python's `Py_buffer`, part of its stable binary interface since 3.11."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer: Final = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int)
_release_buffer: Final = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_Buffer),)
_release_buffer.restype = None


_scratch: Final = _Buffer()
_scratch_ref: Final = ctypes.byref(_scratch)
"""Filled and emptied within one call, so nothing is shared: ctypes keeps the interpreter's lock for `pythonapi`."""


def address(data: Text) -> int:
    """Where the bytes lie in memory, as long as the object lives."""
    if type(data) is bytes:
        return id(data) + _BYTES_BEGIN
    return _buffer_begin(data)


def _buffer_begin(data: Text) -> int:
    _get_buffer(data, _scratch_ref, 0)
    found: int = _scratch.buf
    _release_buffer(_scratch_ref)
    return found


_BYTES_BEGIN: Final = _buffer_begin(b"") - id(b"")
"""CPython has the content of `bytes` behind their head, and the id is where that is: ten times as quick to ask for."""


def span_of(body: Text, value: Text) -> Span:
    """Where a value stands that was decoded from `body`, or from another value that was.

    The decoder hands out views into the body and no offsets, so the two addresses are compared: a search could find
    the same text elsewhere.
    """
    return Span(address(value) - address(body), len(memoryview(value)))


def key_of(body: memoryview, value: int) -> Span:
    """The key of the value at `value`, quotes included; one of the short names that are looked for, however spelled."""
    colon = _back(body, value) - 1
    end = _back(body, colon)
    begin = max(0, end - 1 - _LONGEST_KEY)
    start = begin + bytes(body[begin : end - 1]).rindex(b'"')
    return Span(start, end - start)


def array_at(body: memoryview, first: int) -> int:
    """Where the array begins whose first element stands at `first`."""
    return _back(body, first) - 1


def member_at(body: memoryview, name: str, value: Span) -> Member:
    """The member with this value, whose key is one of those that are looked for."""
    start, end = key_of(body, value.offset).offset, value.offset + value.length
    comma = _back(body, start)
    before = _back(body, comma - 1) if body[comma - 1] == 0x2C else -1
    next_ = _forward(body, end)
    after = _forward(body, next_ + 1) if body[next_] == 0x2C else -1
    return Member(name, start, value.offset, end, before, after)


def cuts(members: Iterable[Member]) -> tuple[Span, ...]:
    """What to cut to remove these members of one object, each with one comma, so that the rest is still an object."""
    spans: list[Span] = []
    kept_before, last_end = False, -1
    for member in sorted(members, key=lambda each: each.start):
        if member.before < 0:
            kept_before = False
        elif member.before != last_end:
            kept_before = True
        # Else the one before it is cut as well, and what is kept before that one is kept before this.
        if kept_before:
            begin, end = member.before, member.end
        else:
            begin, end = member.start, member.end if member.after < 0 else member.after
        spans.append(Span(begin, end - begin))
        last_end = member.end
    return tuple(spans)


def _forward(body: memoryview, at: int) -> int:
    """Past the white space that starts at `at`."""
    found = _SPACE.match(body, at)
    assert found is not None
    return found.end()


def _back(body: memoryview, end: int) -> int:
    """Before the white space that ends at `end`."""
    step = _NEAR
    while True:
        begin = max(0, end - step)
        length = len(bytes(body[begin:end]).rstrip(_WHITE))
        if length or not begin:
            return begin + length
        end, step = begin, step * 2
