"""Frames that change nothing on a connection: what is wrong with them, and the answer to a ping."""

from collections.abc import Callable, Mapping
from typing import Final

from limpet_extproc.envoy import h2_frames as h2
from limpet_extproc.envoy.h2_frames import H2ConnectionError, H2StreamError, frame


def _priority(_: int, number: int, payload: bytes) -> bytes:
    if number == 0:
        raise H2ConnectionError(h2.PROTOCOL_ERROR, "a priority of no stream")
    if len(payload) != 5:
        raise H2StreamError(h2.FRAME_SIZE_ERROR, "a priority of another length than 5 bytes")
    return b""


def _push_promise(_: int, __: int, ___: bytes) -> bytes:
    raise H2ConnectionError(h2.PROTOCOL_ERROR, "a client promises nothing")


def _ping(flags: int, number: int, payload: bytes) -> bytes:
    if number:
        raise H2ConnectionError(h2.PROTOCOL_ERROR, "a ping of a stream")
    if len(payload) != 8:
        raise H2ConnectionError(h2.FRAME_SIZE_ERROR, "a ping of another length than 8 bytes")
    return b"" if flags & h2.ACK else frame(h2.PING, h2.ACK, 0, payload)


def _goaway(_: int, number: int, payload: bytes) -> bytes:
    if number:
        raise H2ConnectionError(h2.PROTOCOL_ERROR, "a GOAWAY of a stream")
    if len(payload) < 8:
        raise H2ConnectionError(h2.FRAME_SIZE_ERROR, "a GOAWAY without its last stream, or its code")
    return b""


ANSWERS: Final[Mapping[int, Callable[[int, int, bytes], bytes]]] = {
    h2.PRIORITY: _priority,
    h2.PUSH_PROMISE: _push_promise,
    h2.PING: _ping,
    h2.GOAWAY: _goaway,
}
"""By frame type, from flags, stream and payload. Raise H2ConnectionError or H2StreamError."""
