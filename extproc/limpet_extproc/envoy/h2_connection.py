"""HTTP/2 on one connection (RFC 9113), as far as a server needs it whose clients are Envoys beside it.

No priorities, no pushes, no table of headers: an answer is one write of prepared bytes. Windows for what comes are as
wide as the largest body from the start, as Envoy sends none that is larger.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

from hpack import Decoder, HPACKError

from limpet_extproc.envoy import h2_frames as h2
from limpet_extproc.envoy.h2_frames import BrokenConnection, BrokenStream, Request, frame
from limpet_extproc.envoy.h2_sending import Sending

log = logging.getLogger(__name__)

MAX_STREAMS: Final = 1_000
"""Requests at a time on one connection; Envoy opens another one where it has more."""

REPLENISH_BYTES: Final = 1 << 20
"""A window is not widened by less, so the largest body must fit into one that has shrunk by this."""

_MOST_KNOWN: Final = 1_000
"""Different header blocks of a connection that are known without decoding them again, none of them a long one."""
_LONGEST_KNOWN: Final = 4_096
_MOST_GONE: Final = 10_000


class Receiver(Protocol):
    """What takes in a request."""

    def data(self, payload: bytes) -> None:
        """A piece of the body."""

    def end(self) -> None:
        """That was all."""

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""


class H2Stream:
    """One request and its answer."""

    __slots__ = ("_allowed", "_connection", "_received", "ended", "number", "receiver", "window")

    def __init__(self, connection: "Connection", number: int, window: int, allowed: int) -> None:
        self._connection = connection
        self._received = 0
        self._allowed = allowed
        """What may come before its reader has asked for more."""
        self.number = number
        self.window = window
        self.ended = False
        """By the other side."""
        self.receiver: Receiver | None = None

    def send(self, head: bytes, data: bytes, trailers: bytes | None) -> None:
        """Header block, data and, if the answer ends here, the block of its trailers; each may be empty."""
        self._connection.send(self, head, data, trailers)

    def received(self, size: int) -> None:
        """Count what has come. Raises BrokenStream if it is more than may come."""
        self._received += size
        if self._received > self._allowed:
            raise BrokenStream(h2.FLOW_CONTROL_ERROR, "more than the stream's window allows")

    def ask_for_more(self) -> None:
        """All that has come was used, so as much may come again."""
        if self._received >= REPLENISH_BYTES:
            self._connection.widen(self.number, self._received)
            self._received = 0


Open = Callable[[H2Stream, Request], Receiver]
"""Begins a request; it may be answered at once."""


class Connection(asyncio.Protocol):
    """One connection of an Envoy."""

    def __init__(self, open_: Open, connections: set["Connection"], max_body_bytes: int) -> None:
        self._open = open_
        self._connections = connections
        self._allowed = max_body_bytes + REPLENISH_BYTES
        self._transport: asyncio.Transport
        self._sending: Sending
        self._rest = b""
        """Of what has come, the beginning of a frame."""
        self._begun = False
        self._decoder = Decoder(h2.HEADER_BLOCK_BYTES)
        self._known: dict[bytes, Request] = {}
        self._streams: dict[int, H2Stream] = {}
        self._gone: dict[int, None] = {}
        """Streams that are over for us while the other side may not know it yet."""
        self._last = 0
        self._block: tuple[int, int, bytearray] | None = None
        """Headers that go on in the next frame: stream, flags, block."""
        self._received = 0
        self._others: Mapping[int, Callable[[int, int, bytes], None]] = {
            h2.PRIORITY: self._priority,
            h2.RST_STREAM: self._rst_stream,
            h2.SETTINGS: self._settings,
            h2.PUSH_PROMISE: self._push_promise,
            h2.PING: self._ping,
            h2.GOAWAY: self._goaway,
            h2.WINDOW_UPDATE: self._window_update,
            h2.CONTINUATION: self._continuation,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we allow; nothing depends on what the other side says."""
        self._transport = cast("asyncio.Transport", transport)
        self._sending = Sending(self._transport)
        self._connections.add(self)
        allowed = (
            # Header blocks that do not depend on each other can be recognised as a whole.
            (h2.HEADER_TABLE_SIZE, 0),
            (h2.MAX_CONCURRENT_STREAMS, MAX_STREAMS),
            (h2.INITIAL_WINDOW_SIZE, self._allowed),
            (h2.MAX_FRAME_SIZE, h2.TAKEN_FRAME_BYTES),
        )
        self._sending.write(h2.settings(allowed) + h2.window_update(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW))

    def pause_writing(self) -> None:
        """Too much has been written that is not read."""
        self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """Nobody waits for the answers any more."""
        self._connections.discard(self)
        self._cancel_all()

    def data_received(self, data: bytes) -> None:
        """Take in all frames that have come whole."""
        self._sending.gather()
        try:
            self._take(self._rest + data if self._rest else data)
        except BrokenConnection as error:
            log.warning("a connection is closed: %s", error)
            self._sending.write(h2.goaway(self._last, error.code, str(error)))
            self._sending.flush()
            self._transport.close()
            self._cancel_all()
            return
        self._sending.flush()

    def leave(self) -> None:
        """Ask for no more calls. Those under way go on, and those that were begun before this was read."""
        self._sending.write(h2.goaway(h2.MAX_WINDOW, h2.NO_ERROR))

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._streams or self._sending.unsent)

    def close(self) -> None:
        """End it, and all that is under way."""
        self._sending.write(h2.goaway(self._last, h2.NO_ERROR))
        self._transport.close()
        self._cancel_all()

    def _take(self, data: bytes) -> None:
        at, end = 0, len(data)
        if not self._begun:
            if data[: len(h2.PREFACE)] != h2.PREFACE[:end]:
                raise BrokenConnection(h2.PROTOCOL_ERROR, "this is not HTTP/2")
            if end < len(h2.PREFACE):
                self._rest = data
                return
            self._begun, at = True, len(h2.PREFACE)
        while end - at >= h2.HEAD.size:
            high, low, kind, flags, number = h2.HEAD.unpack_from(data, at)
            begin = at + h2.HEAD.size
            stop = begin + (high << 8 | low)
            if stop - begin > h2.TAKEN_FRAME_BYTES:
                raise BrokenConnection(h2.FRAME_SIZE_ERROR, "a frame larger than any that is allowed")
            if stop > end:
                break
            number &= h2.MAX_WINDOW
            try:
                self._frame(kind, flags, number, data[begin:stop])
            except BrokenStream as error:
                self._reset(number, error.code)
            at = stop
        self._rest = data[at:]

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and kind != h2.CONTINUATION:
            raise BrokenConnection(h2.PROTOCOL_ERROR, "headers that do not go on")
        if kind == h2.DATA:
            self._data(flags, number, payload)
        elif kind == h2.HEADERS:
            self._headers_begin(flags, number, h2.unpadded(flags, payload, headers=True))
        elif kind in self._others:
            self._others[kind](flags, number, payload)

    def _headers_begin(self, flags: int, number: int, block: bytes) -> None:
        if not number % 2:
            raise BrokenConnection(h2.PROTOCOL_ERROR, "headers on a stream that a client does not have")
        if flags & h2.END_HEADERS:
            self._headers(flags, number, block)
        else:
            self._block = number, flags, bytearray(block)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise BrokenConnection(h2.PROTOCOL_ERROR, "headers go on that have not begun")
        _, begun, block = self._block
        block += payload
        _check_size(block)
        if flags & h2.END_HEADERS:
            self._block = None
            self._headers(begun, number, bytes(block))

    def _headers(self, flags: int, number: int, block: bytes) -> None:
        request = self._request(block)
        if number in self._streams or number <= self._last:
            self._trailers(flags, number, request)
            return
        self._last = number
        if isinstance(request, BrokenStream):
            raise request
        if not request.path:
            raise BrokenStream(h2.PROTOCOL_ERROR, "a request without method, scheme and path")
        # What waits for a window is of streams that have not ended for the other side either.
        if len(self._streams) + len(self._sending.unsent) >= MAX_STREAMS:
            raise BrokenStream(h2.REFUSED_STREAM, "more calls at a time than are allowed")
        stream = self._streams[number] = H2Stream(self, number, self._sending.first_window, self._allowed)
        stream.receiver = self._open(stream, request)
        if flags & h2.END_STREAM:
            self._ended(stream, stream.receiver)

    def _request(self, block: bytes) -> Request | BrokenStream:
        """What a header block asks for; as long as the other side may have a table, each must be decoded."""
        if (known := self._known.get(block)) is not None:
            return known
        _check_size(block)
        try:
            headers = list(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise BrokenConnection(h2.COMPRESSION_ERROR, f"headers that cannot be decoded: {error}") from error
        try:
            request = h2.request_of(headers)
        except BrokenStream as error:
            return error
        if not self._decoder.max_allowed_table_size and len(block) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[block] = request
        return request

    def _trailers(self, flags: int, number: int, request: Request | BrokenStream) -> None:
        stream = self._streams.get(number)
        if stream is None and number not in self._gone:
            raise BrokenConnection(h2.STREAM_CLOSED, "headers on a stream that is closed")
        if stream is not None and stream.ended:
            raise BrokenStream(h2.STREAM_CLOSED, "headers on a stream that has ended")
        if isinstance(request, BrokenStream):
            raise request
        if request.path or not flags & h2.END_STREAM:
            raise BrokenStream(h2.PROTOCOL_ERROR, "headers in the middle of a stream")
        if stream is None:
            del self._gone[number]
        elif stream.receiver is not None:
            self._ended(stream, stream.receiver)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received >= REPLENISH_BYTES:
            self._sending.write(h2.window_update(0, self._received))
            self._received = 0
        stream = self._streams.get(number)
        if stream is None or stream.receiver is None or stream.ended:
            self._data_too_late(flags, number)
            return
        stream.received(len(payload))
        if flags & h2.PADDED:
            payload = h2.unpadded(flags, payload)
        if payload:
            stream.receiver.data(payload)
        if flags & h2.END_STREAM:
            self._ended(stream, stream.receiver)

    def _ended(self, stream: H2Stream, receiver: Receiver) -> None:
        if stream.number not in self._streams:
            self._gone.pop(stream.number, None)
            return
        stream.ended = True
        receiver.end()

    def _data_too_late(self, flags: int, number: int) -> None:
        self._check_begun(number)
        if number not in self._gone:
            raise BrokenStream(h2.STREAM_CLOSED, "data on a stream that is closed")
        if flags & h2.END_STREAM:
            del self._gone[number]

    def widen(self, number: int, more: int) -> None:
        """So much more may come on a stream."""
        if number in self._streams:
            self._sending.write(h2.window_update(number, more))

    def send(self, stream: H2Stream, head: bytes, data: bytes, trailers: bytes | None) -> None:
        """See `H2Stream.send`."""
        number = stream.number
        if number not in self._streams:
            return
        begin = frame(h2.HEADERS, h2.END_HEADERS, number, head) if head else b""
        end = b"" if trailers is None else frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, number, trailers)
        if trailers is not None:
            self._forget(stream)
        self._sending.send(stream, begin, data, end)

    def _reset(self, number: int, code: int) -> None:
        self._sending.write(h2.rst_stream(number, code))
        if (stream := self._streams.get(number)) is not None:
            self._forget(stream)
            _cancel(stream)
        self._sending.drop(number)
        self._remember_gone(number)

    def _forget(self, stream: H2Stream) -> None:
        del self._streams[stream.number]
        if not stream.ended:
            self._remember_gone(stream.number)

    def _remember_gone(self, number: int) -> None:
        if len(self._gone) >= _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self._gone[number] = None

    def _cancel_all(self) -> None:
        for stream in self._streams.values():
            _cancel(stream)
        self._streams.clear()

    def _check_begun(self, number: int) -> None:
        if number > self._last or not number % 2:
            raise BrokenConnection(h2.PROTOCOL_ERROR, "a stream that has not begun")

    def _priority(self, _: int, number: int, payload: bytes) -> None:
        if number == 0:
            raise BrokenConnection(h2.PROTOCOL_ERROR, "a priority of no stream")
        if len(payload) != 5:
            raise BrokenStream(h2.FRAME_SIZE_ERROR, "a priority of another length than 5 bytes")

    def _rst_stream(self, _: int, number: int, payload: bytes) -> None:
        h2.number(payload)
        self._check_begun(number)
        self._gone.pop(number, None)
        if (stream := self._streams.pop(number, None)) is not None:
            _cancel(stream)
        self._sending.drop(number)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise BrokenConnection(h2.PROTOCOL_ERROR, "settings of a stream")
        if flags & h2.ACK:
            if payload:
                raise BrokenConnection(h2.FRAME_SIZE_ERROR, "settings in their acknowledgement")
            self._decoder.max_allowed_table_size = 0
            return
        if (size := dict(h2.settings_in(payload)).get(h2.INITIAL_WINDOW_SIZE)) is not None:
            self._sending.first_window_is(size, self._streams.values())
        self._sending.write(frame(h2.SETTINGS, h2.ACK, 0))

    def _push_promise(self, _: int, __: int, ___: bytes) -> None:
        raise BrokenConnection(h2.PROTOCOL_ERROR, "a client promises nothing")

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise BrokenConnection(h2.PROTOCOL_ERROR, "a ping of a stream")
        if len(payload) != 8:
            raise BrokenConnection(h2.FRAME_SIZE_ERROR, "a ping of another length than 8 bytes")
        if not flags & h2.ACK:
            self._sending.write(frame(h2.PING, h2.ACK, 0, payload))

    def _goaway(self, _: int, number: int, __: bytes) -> None:
        if number:
            raise BrokenConnection(h2.PROTOCOL_ERROR, "a farewell of a stream")

    def _window_update(self, _: int, number: int, payload: bytes) -> None:
        more = h2.number(payload)
        if number == 0:
            self._sending.widen_all(more)
        else:
            self._check_begun(number)
            self._sending.widen(number, more, self._streams.get(number))


def _check_size(block: bytes | bytearray) -> None:
    if len(block) > h2.HEADER_BLOCK_BYTES:
        raise BrokenConnection(h2.ENHANCE_YOUR_CALM, "headers larger than any that are allowed")


def _cancel(stream: H2Stream) -> None:
    if stream.receiver is not None:
        stream.receiver.cancel()
