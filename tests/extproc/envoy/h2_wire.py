"""A client of one connection that sends bytes and reads frames, for tests of our HTTP/2."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from limpet_extproc.envoy import h2_frames as f
from limpet_extproc.envoy.h2_connection import Connection
from limpet_extproc.envoy.h2_frames import PREFACE, Request, frame, header_block, settings
from limpet_extproc.envoy.h2_stream import H2Stream

BEGIN = PREFACE + settings(())
ACKED = frame(f.SETTINGS, f.ACK, 0)
ASK = ((":method", "POST"), (":scheme", "http"), (":path", "/call"), (":authority", "limpet"))
REQUEST = header_block(*ASK, ("te", "trailers"))
OK = header_block((":status", "200"))
ENDED = header_block(("grpc-status", "0"))
TRAILERS = header_block(("checksum", "1"))

MAX_BODY_BYTES = 8 << 20


class Wire(asyncio.Transport):
    """What a connection has written, and whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        assert data, "nothing to write"
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Alarm:
    """Something that a connection wants to do later."""

    def __init__(self, after_s: float, act: Callable[[], None]) -> None:
        self.after_s = after_s
        self.act = act
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Alarms:
    """All of these, which ring when a test says so."""

    def __init__(self) -> None:
        self.set: list[Alarm] = []

    def later(self, after_s: float, act: Callable[[], None]) -> Alarm:
        self.set.append(Alarm(after_s, act))
        return self.set[-1]

    def ring(self) -> int:
        """Ring those that are due next; how many there were."""
        due, self.set = [each for each in self.set if not each.cancelled], []
        for each in due:
            each.act()
        return len(due)


class Frame(NamedTuple):
    kind: int
    stream: int
    flags: int
    payload: bytes


def frames(data: bytes) -> Iterator[Frame]:
    at = 0
    while at < len(data):
        high, low, kind, flags, stream = f.HEAD.unpack_from(data, at)
        at += f.HEAD.size + (high << 8 | low)
        yield Frame(kind, stream, flags, data[at - (high << 8 | low) : at])
    assert at == len(data)


class Echo:
    """Sends back a body when it has ended."""

    def __init__(self, stream: H2Stream, request: Request) -> None:
        self.stream = stream
        self.request = request
        self.body = b""
        self.ends = 0
        self.cancelled = False

    def data(self, payload: memoryview) -> None:
        self.body += payload

    def end(self) -> None:
        self.ends += 1
        if self.request.path == "/call":
            self.stream.send(OK, self.body, ENDED)

    def cancel(self) -> None:
        self.cancelled = True


class Served:
    """A connection, what it was requests and what it has answered since one looked."""

    def __init__(self, begin: bytes = BEGIN) -> None:
        self.wire = Wire()
        self.requests: list[Echo] = []
        self.alarms = Alarms()
        self.connection = Connection(self._open, set(), MAX_BODY_BYTES, self.alarms.later)
        self.connection.connection_made(self.wire)
        self.wire.written.clear()
        if begin:
            self.send(begin)
        self.wire.written.clear()

    def _open(self, stream: H2Stream, request: Request) -> Echo:
        self.requests.append(Echo(stream, request))
        return self.requests[-1]

    def send(self, *data: bytes) -> list[Frame]:
        for each in data:
            if not self.wire.closed:
                self.connection.data_received(each)
        return self.received()

    def received(self) -> list[Frame]:
        received = list(frames(b"".join(self.wire.written)))
        self.wire.written.clear()
        return received


def headers(stream: int = 1, block: bytes = REQUEST, *, flags: int = f.END_HEADERS) -> bytes:
    return frame(f.HEADERS, flags, stream, block)


def data(stream: int = 1, payload: bytes = b"", *, end: bool = False) -> bytes:
    return frame(f.DATA, f.END_STREAM if end else 0, stream, payload)


def whole(stream: int = 1, block: bytes = REQUEST) -> bytes:
    """A request without a body."""
    return headers(stream, block, flags=f.END_HEADERS | f.END_STREAM)


def raw(kind: int, payload: bytes, *, flags: int = 0, stream: int = 0) -> bytes:
    return frame(kind, flags, stream, payload)


def setting(key: int, value: int) -> bytes:
    return settings([(key, value)])


def literal(*lines: tuple[bytes, bytes]) -> bytes:
    """A header block that no encoder would let pass, of short names and values."""
    return b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in lines)
