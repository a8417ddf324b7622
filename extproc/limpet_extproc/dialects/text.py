r"""JSON as clients really send it: UTF-8 that is checked without being copied, and halves of surrogate pairs.

RFC 8259 (section 8.2) allows `\ud83e` without its other half, and clients that cut text in the middle of an emoji send
it. Strings with it cannot be decoded, but all others can, and what need not be decoded passes as it is.
"""

import codecs
import ctypes
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from limpet_extproc.dialects.json_errors import decode_error
from limpet_extproc.dialects.port import BadRequestError
from limpet_extproc.dialects.spans import Body, Text, address, span_of

T = TypeVar("T")
S = TypeVar("S", bound=Text)

MAX_NAME_CHARS: Final = 256
MAX_NAME_BYTES: Final = 4096
"""As written. More than MAX_NAME_CHARS characters, however they are spelled, cannot be a name."""

_MAX_NUMBER_BYTES: Final = 30
_MOST_TOKENS: Final = 1 << 53
"""A larger number means no limit, and does not fit every format."""
_PIECE_BYTES: Final = 1 << 16
_SHORT_BYTES: Final = 1 << 12
"""Of a body in which Python's own search is the faster one."""
_memmem: Final = ctypes.pythonapi.memmem
_memmem.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
_memmem.restype = ctypes.c_void_p

_STR: Final[msgspec.json.Decoder[str]] = msgspec.json.Decoder(str)
_MAYBE_STR: Final[msgspec.json.Decoder[str | None]] = msgspec.json.Decoder(str | None)
_MAYBE_BOOL: Final[msgspec.json.Decoder[bool | None]] = msgspec.json.Decoder(bool | None)
_MAYBE_NAMES: Final[msgspec.json.Decoder[list[str] | None]] = msgspec.json.Decoder(list[str] | None)
_MAYBE_INT: Final[msgspec.json.Decoder[int | None]] = msgspec.json.Decoder(int | None)


def require_text(body: Body, members: str) -> None:
    """That there is a body, and that it is UTF-8: the decoder looks only at the strings it needs.

    `members` are those that its API asks for. Raises BadRequestError.
    """
    if not body:  # Chunks without content, say; a request without any body is refused by Envoy.
        message = f"The request has no body; send a JSON object with {members}."
        raise BadRequestError(None, message, "empty_body")
    if body.isascii():
        return
    # As one string a large body would take four times its size.
    decoder, view = codecs.getincrementaldecoder("utf-8")(), memoryview(body)
    for begin in range(0, len(body), _PIECE_BYTES):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(view[begin : begin + _PIECE_BYTES], begin + _PIECE_BYTES >= len(body))
        except UnicodeDecodeError as error:
            at = begin - pending + error.start
            message = f"the body is not UTF-8: byte {at} begins no valid character"
            raise BadRequestError(None, message) from error


def decode(decoder: msgspec.json.Decoder[T], text: S, where: str = "") -> tuple[T, S | bytearray]:
    """The decoded `text`, and the bytes that the decoder saw, which are as long. Raises BadRequestError."""
    try:
        return decoder.decode(text), text
    except (msgspec.MsgspecError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError | RecursionError):
            raise decode_error(error, where) from error
        seen = bytearray(text)
        if not _hide_surrogates(seen):
            raise decode_error(error, where) from error
    try:
        return decoder.decode(seen), seen
    except (msgspec.MsgspecError, RecursionError) as error:
        raise decode_error(error, where) from error


def _hide_surrogates(text: bytearray) -> bool:
    """Put a private character for each half; none of those is part of a field's name. False: no half was found."""
    found = False
    # By pieces, each with the beginning of the next, so that no further copy of a large body is needed.
    for begin in range(0, len(text), _PIECE_BYTES):
        piece = text[begin : begin + _PIECE_BYTES + 2]
        if b"\\ud" in piece or b"\\uD" in piece:  # whole pairs do no harm
            found = True
            text[begin : begin + len(piece)] = piece.replace(b"\\ud", b"\\uf").replace(b"\\uD", b"\\uF")
    return found


def find(body: Body, what: bytes, begin: int = 0) -> int:
    """What `body.find` says; over a long body this takes a third of the time."""
    length = len(body) - begin
    if length < _SHORT_BYTES:
        return body.find(what, begin)
    start = address(body)
    found: int | None = _memmem(start + begin, length, what, len(what))
    return -1 if found is None else found - start


def begin_of(value: Text) -> bytes:
    """The first byte, which tells what kind of value it is; nothing if it is absent."""
    return bytes(memoryview(value)[:1])


def as_written(value: Raw, text: Text, seen: Text) -> Raw | memoryview:
    """The value's own bytes, where the decoder saw others."""
    if seen is text:
        return value
    offset, length = span_of(seen, value)
    return memoryview(text)[offset : offset + length]


def name(value: Text, field: str) -> str:
    """A string whose text matters. Raises BadRequestError."""
    if len(memoryview(value)) > MAX_NAME_BYTES:
        raise BadRequestError(field, f"'{field}' is longer than any name; {MAX_NAME_CHARS} characters are the most")
    try:
        return _STR.decode(value)
    except msgspec.ValidationError as error:
        raise decode_error(error, field) from error
    except msgspec.DecodeError as error:
        raise BadRequestError(field, f"'{field}' has one half of a surrogate pair, which is not a character") from error


def words(value: Text, field: str) -> str | None:
    """A string that only has to be the same from turn to turn; None if it is too long for a name.

    Raises BadRequestError if it is not a string.
    """
    view = memoryview(value)
    if is_long(view):
        return None
    try:
        return _MAYBE_STR.decode(value)
    except msgspec.ValidationError as error:
        raise decode_error(error, field) from error
    except msgspec.DecodeError:
        return bytes(view[1:-1]).decode()


def is_long(value: Text) -> bool:
    """Whether this is a string longer than any name."""
    view = memoryview(value)
    return len(view) > MAX_NAME_BYTES and view[0] == 0x22


def whole_number(value: Text, field: str) -> int | None:
    """A number of tokens. Raises BadRequestError."""
    if len(memoryview(value)) > _MAX_NUMBER_BYTES and memoryview(value)[0] in b"-0123456789":
        raise BadRequestError(field, f"'{field}' has more digits than any number of tokens")
    try:
        number = _MAYBE_INT.decode(value)
    except msgspec.ValidationError as error:
        raise decode_error(error, field) from error
    except msgspec.DecodeError as error:
        raise BadRequestError(field, f"'{field}' has the wrong type: write a whole number") from error
    return None if number is None else min(number, _MOST_TOKENS)


def boolean(value: Text, field: str) -> bool | None:
    """Raises BadRequestError if it is neither true nor false nor null."""
    try:
        return _MAYBE_BOOL.decode(value)
    except msgspec.DecodeError as error:
        raise decode_error(error, field) from error


def names(value: Text, field: str) -> list[str]:
    """A short list of names; empty for null. Raises BadRequestError."""
    if len(memoryview(value)) > MAX_NAME_BYTES:
        raise BadRequestError(field, f"'{field}' is longer than {MAX_NAME_BYTES} bytes")
    try:
        return _MAYBE_NAMES.decode(value) or []
    except msgspec.ValidationError as error:
        raise decode_error(error, field) from error
    except msgspec.DecodeError as error:
        raise BadRequestError(field, f"'{field}' has one half of a surrogate pair, which is not a character") from error
