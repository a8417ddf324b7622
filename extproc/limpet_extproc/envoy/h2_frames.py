"""HTTP/2 as bytes (RFC 9113): building frames, checking headers, and the errors for what breaks the rules."""

import re
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple, TypeVar

from hpack import Encoder, NeverIndexedHeaderTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES: Final = 16_384
"""The largest payload of our frames, and of any frame until the other side allows more."""
MAX_RECEIVED_BYTES: Final = 262_144
"""The largest payload that a frame of the client may have."""
HEADER_BLOCK_BYTES: Final = 65_536
"""The largest header block of one request, over all its frames."""
NUMBER_BYTES: Final = 4
"""The payload of frames that hold one number."""
MAX_WINDOW: Final = (1 << 31) - 1
DEFAULT_WINDOW: Final = 65_535

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)

NO_ERROR, PROTOCOL_ERROR, _, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = range(7, 10)
ENHANCE_YOUR_CALM: Final = 11

HEAD: Final = Struct(">HBBBI")
"""Length without its lowest byte, that byte, type, flags and stream."""
_SETTING: Final = Struct(">HI")


_Payload = TypeVar("_Payload", bytes, memoryview)


class H2ConnectionError(Exception):
    """A connection error: the client broke a rule after which nothing on this connection makes sense."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class H2StreamError(Exception):
    """A stream error: it concerns this stream alone."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Request(NamedTuple):
    """The request in a header block."""

    path: str
    """Empty if there are no pseudo-headers at all, as in trailers."""
    metadata: frozenset[tuple[str, str]]
    """All but the pseudo-headers."""
    content_length: int | None = None
    """Bytes of the body, if the client has said it."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return head(len(payload), kind, flags, stream) + payload


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The head of a frame."""
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*each) for each in values))


def settings_in(payload: bytes) -> list[tuple[int, int]]:
    """The settings in a SETTINGS frame. Raises H2ConnectionError."""
    if len(payload) % _SETTING.size:
        raise H2ConnectionError(FRAME_SIZE_ERROR, "SETTINGS that end within a setting")
    return [_checked(*each) for each in _SETTING.iter_unpack(payload)]


def _checked(key: int, value: int) -> tuple[int, int]:
    if key == ENABLE_PUSH and value > 1:
        raise H2ConnectionError(PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
    if key == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
        raise H2ConnectionError(FLOW_CONTROL_ERROR, "an initial window above 2^31-1")
    if key == MAX_FRAME_SIZE and not FRAME_BYTES <= value < 1 << 24:
        raise H2ConnectionError(PROTOCOL_ERROR, "a frame size that is not allowed")
    return key, value


def number(payload: bytes) -> int:
    """The payload of frames that hold one 31-bit number. Raises H2ConnectionError."""
    if len(payload) != NUMBER_BYTES:
        raise H2ConnectionError(FRAME_SIZE_ERROR, "the payload is not 4 bytes long")
    return int.from_bytes(payload, "big") & MAX_WINDOW


def goaway(last_stream: int, code: int, why: str = "") -> bytes:
    """No more streams after this one."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + why.encode())


def window_update(stream: int, more: int) -> bytes:
    """So many bytes more may come; 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def rst_stream(stream: int, code: int) -> bytes:
    """Nothing more of this stream."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def unpadded(flags: int, payload: _Payload, *, headers: bool = False) -> _Payload:
    """The payload without padding and, of headers, without priority. Raises H2ConnectionError."""
    begin, end = 0, len(payload)
    if flags & PADDED:
        begin = 1
    if headers and flags & PRIORITISED:
        begin += 5
    if begin > end:
        raise H2ConnectionError(FRAME_SIZE_ERROR, "a frame too short for the length of its padding, or its priority")
    if flags & PADDED:
        end -= payload[0]
    if begin > end:
        raise H2ConnectionError(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[begin:end]


_CONNECTION_ONLY: Final = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"})
_NAME: Final = re.compile(r":?[!-9;-@\[-~]+")
_VALUE: Final = re.compile(r"(?![ \t])[^\0\r\n]*(?<![ \t])")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


def request_of(headers: Iterable[tuple[bytes, bytes]]) -> Request:
    """The request in decoded headers or trailers, names and values as bytes.

    Raises H2StreamError if they are malformed (RFC 9113, sections 8.2 and 8.3).
    """
    pseudo: dict[str, str] = {}
    metadata: list[tuple[str, str]] = []
    length: int | None = None
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise H2StreamError(PROTOCOL_ERROR, f"a header with bytes that are not allowed: {name!r}")
        if name.startswith(":"):
            if metadata or name in pseudo or name not in (":method", ":scheme", ":path", ":authority"):
                raise H2StreamError(PROTOCOL_ERROR, f"a pseudo-header that is not allowed: {name}")
            pseudo[name] = value
        elif name in _CONNECTION_ONLY or (name == "te" and value != "trailers"):
            raise H2StreamError(PROTOCOL_ERROR, f"a header that HTTP/2 does not have: {name}")
        else:
            if name == "content-length":
                if not _LENGTH.fullmatch(value) or length not in (None, int(value)):
                    raise H2StreamError(PROTOCOL_ERROR, f"a content-length that is none: {value!r}")
                length = int(value)
            metadata.append((name, value))
    path = pseudo.get(":path", "")
    if pseudo and not (path and {":method", ":scheme"} <= pseudo.keys()):
        raise H2StreamError(PROTOCOL_ERROR, "a request without method, scheme and path")
    return Request(path, frozenset(metadata), length)


_NO_TABLE: Final = b"\x20"
"""Must be sent once after the client made its table smaller, and may precede every block."""


def header_block(*headers: tuple[str, str]) -> bytes:
    """A header block encoded without a table, so that it can be sent at any time and any number of times."""
    encoded: bytes = Encoder().encode([NeverIndexedHeaderTuple(*header) for header in headers], huffman=False)
    return _NO_TABLE + encoded
