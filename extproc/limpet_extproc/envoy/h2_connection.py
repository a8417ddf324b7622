"""HTTP/2 on one connection (RFC 9113): what a server needs whose only clients are the Envoys beside it.

No priorities, no pushes, no table of headers: an answer is one write of prepared bytes. The window of a stream is as
wide as the largest body from the start, as Envoy sends none that is larger.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from struct import Struct
from typing import Final, Protocol, cast

from limpet_extproc.envoy import h2_frames as h2
from limpet_extproc.envoy.h2_control import ANSWERS
from limpet_extproc.envoy.h2_frames import DATA, HEAD, H2ConnectionError, H2StreamError, Request, frame
from limpet_extproc.envoy.h2_requests import RequestDecoder, check_size
from limpet_extproc.envoy.h2_sending import Sending
from limpet_extproc.envoy.h2_stream import REPLENISH_BYTES, H2Stream, MeasuredBody, Receiver

_log = logging.getLogger(__name__)

MAX_STREAMS: Final = 1_000
"""Requests at a time on one connection; Envoy opens another connection for more."""

WINDOW_BYTES: Final = 32 << 20
"""Of the connection: the most that is on its way to us. Envoy hangs up when 10,000 of its frames wait to be read, at
16 KiB each 160 MiB; what no window allows it to write does not count."""

_MAX_CLOSED: Final = 10_000

PREFACE_S: Final = 5.0
"""For a client to say that it speaks HTTP/2, twice: a process that was stopped looks at its clocks before it reads."""

_SIZE_AND_KIND: Final = Struct(">IBI")
"""The head of a frame: its length and type as one number, flags and stream."""
_HEAD_BYTES: Final = HEAD.size
_LARGEST: Final = h2.MAX_RECEIVED_BYTES << 8 | 0xFF
_NUMBER: Final = h2.MAX_WINDOW
"""Without the highest bit, which says nothing."""


Open = Callable[[H2Stream, Request], Receiver]
"""Begins a request; it may be answered at once."""


class Timer(Protocol):
    """Something that is to happen later."""

    def cancel(self) -> None:
        """It is not."""


Later = Callable[[float, Callable[[], None]], Timer]
"""Calls after so many seconds, as `asyncio.AbstractEventLoop.call_later` does."""


class Connection(asyncio.Protocol):
    """One connection of an Envoy."""

    def __init__(
        self,
        open_: Open,
        connections: set["Connection"],
        max_body_bytes: int,
        later: Later,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """`connections`: those that are open, this one included while it is; `on_closed` is called when it has left."""
        self._later = later
        self._preface_due: Timer
        self._open = open_
        self._connections = connections
        self._on_closed = on_closed
        self._allowed = max_body_bytes + REPLENISH_BYTES
        self._transport: asyncio.Transport
        self._sending: Sending
        self._partial = bytearray()
        """A frame of which only the beginning has been received."""
        self._preface_read = False
        self._decoder = RequestDecoder()
        self._streams: dict[int, H2Stream] = {}
        self._closed: dict[int, None] = {}
        """Streams that are closed for us while the client may still send on them."""
        self._last_stream = 0
        self._block: tuple[int, int, bytearray] | None = None
        """Headers that continue in the next frame: stream, flags, block."""
        self._received = 0
        self._handlers: Mapping[int, Callable[[int, int, bytes], None]] = {
            h2.HEADERS: self._headers_begin,
            h2.RST_STREAM: self._rst_stream,
            h2.SETTINGS: self._settings,
            h2.WINDOW_UPDATE: self._window_update,
            h2.CONTINUATION: self._continuation,
            **{kind: partial(self._answered, answer) for kind, answer in ANSWERS.items()},
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our settings; nothing depends on those of the client."""
        self._transport = cast("asyncio.Transport", transport)
        self._sending = Sending(self._transport)
        self._connections.add(self)
        self._preface_due = self._later(PREFACE_S, self._look_again_for_preface)
        allowed = (
            # Header blocks that do not depend on each other can be recognised as a whole.
            (h2.HEADER_TABLE_SIZE, 0),
            (h2.MAX_CONCURRENT_STREAMS, MAX_STREAMS),
            (h2.INITIAL_WINDOW_SIZE, self._allowed),
            (h2.MAX_FRAME_SIZE, h2.MAX_RECEIVED_BYTES),
        )
        self._sending.write(h2.settings(allowed) + h2.window_update(0, WINDOW_BYTES - h2.DEFAULT_WINDOW))

    def pause_writing(self) -> None:
        """The client has left too much unread."""
        self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """The answers are no longer wanted."""
        self._connections.discard(self)
        self._preface_due.cancel()
        self._cancel_all()
        self._on_closed()

    def data_received(self, data: bytes) -> None:
        """Handle all frames that are complete."""
        self._sending.gather()
        try:
            self._read(data)
        except H2ConnectionError as error:
            self._break_off(error)
            return
        self._sending.flush()

    def drain(self) -> None:
        """Ask for no more requests. Those under way go on, and those that the client sends before it reads this."""
        self._sending.write(h2.goaway(h2.MAX_WINDOW, h2.NO_ERROR))

    @property
    def busy(self) -> bool:
        """Whether requests are under way."""
        return bool(self._streams or self._sending.unsent)

    def close(self) -> None:
        """Close it, and cancel what is under way."""
        self._sending.write(h2.goaway(self._last_stream, h2.NO_ERROR))
        self._transport.close()
        self._cancel_all()

    def _look_again_for_preface(self) -> None:
        late = H2ConnectionError(h2.SETTINGS_TIMEOUT, "a client that does not say what it speaks")
        self._preface_due = self._later(PREFACE_S, partial(self._break_off, late))

    def _break_off(self, error: H2ConnectionError) -> None:
        _log.warning("a connection is closed: %s", error)
        self._preface_due.cancel()
        self._sending.write(h2.goaway(self._last_stream, error.code, str(error)))
        self._sending.flush()
        self._transport.close()
        self._cancel_all()

    def _read(self, data: bytes) -> None:
        at = 0
        if not self._preface_read:
            data, at = bytes(self._partial + data), len(h2.PREFACE)
            if data[:at] != h2.PREFACE[: len(data)]:
                raise H2ConnectionError(h2.PROTOCOL_ERROR, "this is not HTTP/2")
            self._partial.clear()
            if len(data) < at + HEAD.size:
                self._partial += data
                return
            _, _, kind, flags, _ = HEAD.unpack_from(data, at)
            if kind != h2.SETTINGS or flags & h2.ACK:
                raise H2ConnectionError(h2.PROTOCOL_ERROR, "a client that does not begin with its settings")
            self._preface_read = True
            self._preface_due.cancel()
        elif self._partial:
            at = self._complete(data)
        if at < len(data) and (at := self._frames(data, at)) < len(data):
            self._partial += data[at:]

    def _complete(self, data: bytes) -> int:
        """Handle the frame of which only the beginning was received; where what follows it begins.

        Only this frame is put together, as all else that has come would have to be copied with it.
        """
        partial = self._partial
        at = max(0, HEAD.size - len(partial))
        partial += data[:at]
        if len(partial) < HEAD.size:
            return len(data)
        size = int.from_bytes(partial[:3], "big")
        stop = at + HEAD.size + size - len(partial)
        partial += data[at:stop]
        if stop > len(data) and size <= h2.MAX_RECEIVED_BYTES:
            return len(data)
        whole = bytes(partial)
        partial.clear()
        self._frames(whole, 0)
        return stop

    def _frames(self, data: bytes, at: int) -> int:
        """Handle all frames that are complete from here on; where the first one begins that is not."""
        view, end, unpack, streams = memoryview(data), len(data), _SIZE_AND_KIND.unpack_from, self._streams
        while (begin := at + _HEAD_BYTES) <= end:
            size_and_kind, flags, number = unpack(data, at)
            stop = begin + (size_and_kind >> 8)
            if stop > end or size_and_kind > _LARGEST:
                if size_and_kind > _LARGEST:
                    raise H2ConnectionError(h2.FRAME_SIZE_ERROR, "a frame larger than any that is allowed")
                break
            number &= _NUMBER
            kind = size_and_kind & 0xFF
            if self._block is not None and kind != h2.CONTINUATION:
                raise H2ConnectionError(h2.PROTOCOL_ERROR, "headers that do not continue")
            try:
                if kind == DATA:
                    self._data(flags, number, view[begin:stop], streams.get(number))
                else:
                    self._handlers.get(kind, _ignored)(flags, number, data[begin:stop])
            except H2StreamError as error:
                self._reset(number, error)
            at = stop
        return at

    def _headers_begin(self, flags: int, number: int, payload: bytes) -> None:
        block = h2.unpadded(flags, payload, headers=True) if flags & (h2.PADDED | h2.PRIORITISED) else payload
        if not number % 2:
            raise H2ConnectionError(h2.PROTOCOL_ERROR, "headers on a stream that a client does not have")
        if flags & h2.END_HEADERS:
            self._headers(flags, number, block)
        else:
            self._block = number, flags, bytearray(block)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise H2ConnectionError(h2.PROTOCOL_ERROR, "a continuation of headers that have not begun")
        _, begun, block = self._block
        block += payload
        check_size(block)
        if flags & h2.END_HEADERS:
            self._block = None
            self._headers(begun, number, bytes(block))

    def _headers(self, flags: int, number: int, block: bytes) -> None:
        request = self._decoder.request(block)
        if number in self._streams or number <= self._last_stream:
            self._trailers(flags, number, request)
            return
        self._last_stream = number
        if isinstance(request, H2StreamError):
            raise request
        if not request.path:
            raise H2StreamError(h2.PROTOCOL_ERROR, "a request without method, scheme and path")
        # Answers that wait for a window belong to streams that are still open for the client.
        if len(self._streams) + len(self._sending.unsent) >= MAX_STREAMS:
            raise H2StreamError(h2.REFUSED_STREAM, "more requests at a time than are allowed")
        stream = self._streams[number] = H2Stream(self, number, self._sending.first_window)
        receiver = self._open(stream, request)
        if request.content_length is not None:
            receiver = MeasuredBody(receiver, request.content_length)
        stream.receiver = receiver
        if flags & h2.END_STREAM:
            self._ended(stream, receiver)

    def _trailers(self, flags: int, number: int, request: Request | H2StreamError) -> None:
        stream = self._streams.get(number)
        if stream is None and number not in self._closed and number not in self._sending.unsent:
            raise H2ConnectionError(h2.STREAM_CLOSED, "headers on a stream that is closed")
        if number not in self._closed if stream is None else stream.ended:
            raise H2StreamError(h2.STREAM_CLOSED, "headers on a stream that has ended")
        if isinstance(request, H2StreamError):
            raise request
        if request.path or not flags & h2.END_STREAM:
            raise H2StreamError(h2.PROTOCOL_ERROR, "headers in the middle of a stream")
        if stream is None:
            del self._closed[number]
        elif stream.receiver is not None:
            self._ended(stream, stream.receiver)

    def _data(self, flags: int, number: int, payload: memoryview, stream: H2Stream | None) -> None:
        size = len(payload)
        self._received += size
        if self._received >= REPLENISH_BYTES:
            self._sending.write(h2.window_update(0, self._received))
            self._received = 0
        if stream is None or stream.ended or stream.receiver is None:
            self._late_data(flags, number)
            return
        stream.received += size
        if stream.received > self._allowed:
            raise H2StreamError(h2.FLOW_CONTROL_ERROR, "more than the stream's window allows")
        if size and not flags:
            stream.receiver.data(payload)
            return
        if flags & h2.PADDED:
            payload = h2.unpadded(flags, payload)
        if payload:
            stream.receiver.data(payload)
        if flags & h2.END_STREAM:
            self._ended(stream, stream.receiver)

    def _ended(self, stream: H2Stream, receiver: Receiver) -> None:
        if stream.number not in self._streams:
            self._closed.pop(stream.number, None)
            return
        stream.ended = True
        receiver.end()

    def _late_data(self, flags: int, number: int) -> None:
        self._check_opened(number)
        if number not in self._closed:
            raise H2StreamError(h2.STREAM_CLOSED, "data on a stream that is closed")
        if flags & h2.END_STREAM:
            del self._closed[number]

    def widen(self, number: int, more: int) -> None:
        """See `Carrier.widen`."""
        if number in self._streams:
            self._sending.write(h2.window_update(number, more))

    def send(self, stream: H2Stream, head: bytes, data: bytes, trailers: bytes | None) -> None:
        """See `H2Stream.send`."""
        if stream.number not in self._streams:
            return
        if trailers is not None:
            self._close_stream(stream)
        self._sending.send(stream, head, data, trailers)

    def _reset(self, number: int, error: H2StreamError) -> None:
        if number > self._last_stream or not number % 2:
            # A stream that has not begun can't be reset.
            raise H2ConnectionError(error.code, str(error)) from error
        self._sending.write(h2.rst_stream(number, error.code))
        if (stream := self._streams.get(number)) is not None:
            self._close_stream(stream)
            stream.cancel()
        self._sending.drop(number)
        self._remember_closed(number)

    def _close_stream(self, stream: H2Stream) -> None:
        del self._streams[stream.number]
        if not stream.ended:
            self._remember_closed(stream.number)

    def _remember_closed(self, number: int) -> None:
        if len(self._closed) >= _MAX_CLOSED:
            del self._closed[next(iter(self._closed))]
        self._closed[number] = None

    def _cancel_all(self) -> None:
        for stream in self._streams.values():
            stream.cancel()
        self._streams.clear()

    def _check_opened(self, number: int) -> None:
        if number > self._last_stream or not number % 2:
            raise H2ConnectionError(h2.PROTOCOL_ERROR, "a stream that has not begun")

    def _rst_stream(self, _: int, number: int, payload: bytes) -> None:
        if len(payload) != h2.NUMBER_BYTES:
            raise H2ConnectionError(h2.FRAME_SIZE_ERROR, "a reset of another length than 4 bytes")
        if number > self._last_stream or not number % 2:
            self._check_opened(number)
        self._closed.pop(number, None)
        if (stream := self._streams.pop(number, None)) is not None:
            stream.cancel()
        if number in self._sending.unsent:
            self._sending.drop(number)

    def _answered(self, answer: Callable[[int, int, bytes], bytes], flags: int, number: int, payload: bytes) -> None:
        self._sending.write(answer(flags, number, payload))

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise H2ConnectionError(h2.PROTOCOL_ERROR, "settings of a stream")
        if flags & h2.ACK:
            if payload:
                raise H2ConnectionError(h2.FRAME_SIZE_ERROR, "settings in their acknowledgement")
            self._decoder.end_table()
            return
        if (size := dict(h2.settings_in(payload)).get(h2.INITIAL_WINDOW_SIZE)) is not None:
            self._sending.first_window_is(size, self._streams.values())
        self._sending.write(frame(h2.SETTINGS, h2.ACK, 0))

    def _window_update(self, _: int, number: int, payload: bytes) -> None:
        more = h2.number(payload)
        if number == 0:
            self._sending.widen_all(more)
        else:
            self._check_opened(number)
            self._sending.widen(number, more, self._streams.get(number))


def _ignored(_: int, __: int, ___: bytes) -> None:
    """A frame of a type that is not known."""
