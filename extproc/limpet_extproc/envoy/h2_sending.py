"""The outgoing half of an HTTP/2 connection: as much at a time as the client's windows allow."""

import asyncio
from collections import deque
from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple, Protocol

from limpet_extproc.envoy import h2_frames as h2
from limpet_extproc.envoy.h2_frames import DATA, END_HEADERS, HEADERS, H2ConnectionError, H2StreamError

MOST_UNSENT_BYTES: Final = 256 << 20
"""Answers that are not read, four of the largest: a client that leaves more unread is disconnected."""

_LAST: Final = END_HEADERS | h2.END_STREAM
_head: Final = Struct(">xHBBI").pack
"""The head of a frame of ours, none of which is as long as 64 KiB."""


class Windowed(Protocol):
    """A stream with its own window."""

    number: int
    window: int


class _Unsent(NamedTuple):
    """The answer of a stream that waits for a window."""

    stream: Windowed
    parts: deque[tuple[memoryview, bytes]]
    """Data, and the frames after it."""


class Sending:
    """The outgoing half of one connection."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self.first_window = h2.DEFAULT_WINDOW
        """Of a new stream."""
        self._window = h2.DEFAULT_WINDOW
        self.unsent: dict[int, _Unsent] = {}
        """By stream."""
        self._unsent_bytes = 0
        self._wider = False
        self._gathered: list[bytes] | None = None
        transport.set_write_buffer_limits(MOST_UNSENT_BYTES)

    def gather(self) -> None:
        """Write nothing until `flush`, and then everything in one write."""
        self._gathered = []

    def flush(self) -> None:
        """See `gather`. Waiting answers are looked through once, however often windows were widened."""
        if self._wider:
            self._wider = False
            self._go_on()
        gathered, self._gathered = self._gathered or (), None
        if frames := b"".join(gathered):
            self._transport.write(frames)

    def write(self, frames: bytes) -> None:
        """Send frames that need no window."""
        if self._gathered is not None:
            self._gathered.append(frames)
        elif frames:
            self._transport.write(frames)

    def send(self, stream: Windowed, head: bytes, data: bytes, trailers: bytes | None) -> None:
        """Send a header block, data and, if the answer ends here, the block of its trailers; each may be empty."""
        number, length = stream.number, len(data)
        frames = [_head(len(head), HEADERS, END_HEADERS, number), head] if head else []
        if (
            length <= h2.FRAME_BYTES
            and length <= self._window
            and length <= stream.window
            and number not in self.unsent
        ):
            if data:
                self._window -= length
                stream.window -= length
                frames += (_head(length, DATA, 0, number), data)
            if trailers is not None:
                frames += (_head(len(trailers), HEADERS, _LAST, number), trailers)
            if self._gathered is not None:
                self._gathered += frames
            else:
                self.write(b"".join(frames))
            return
        end = () if trailers is None else (_head(len(trailers), HEADERS, _LAST, number), trailers)
        if number not in self.unsent:
            self.unsent[number] = _Unsent(stream, deque())
        self.unsent[number].parts.append((memoryview(data), b"".join(end)))
        self._unsent_bytes += length
        self.write(b"".join((*frames, self._sendable(number))))
        if self._unsent_bytes > MOST_UNSENT_BYTES:
            self._transport.abort()

    def drop(self, number: int) -> None:
        """Drop what is left of this stream."""
        if (unsent := self.unsent.pop(number, None)) is not None:
            self._unsent_bytes -= sum(len(data) for data, _ in unsent.parts)

    def first_window_is(self, size: int, streams: Iterable[Windowed]) -> None:
        """Change the size of new windows, and open ones by the difference. Raises H2ConnectionError."""
        more, self.first_window = size - self.first_window, size
        waiting = (each.stream for each in self.unsent.values())
        for stream in {each.number: each for each in (*streams, *waiting)}.values():
            stream.window += more
            if stream.window > h2.MAX_WINDOW:
                raise H2ConnectionError(h2.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        self._wider = True

    def widen_all(self, more: int) -> None:
        """Widen the connection's window. Raises H2ConnectionError."""
        self._window += more
        if not more or self._window > h2.MAX_WINDOW:
            raise H2ConnectionError(
                h2.FLOW_CONTROL_ERROR if more else h2.PROTOCOL_ERROR, "a window that is not widened, or above 2^31-1"
            )
        self._wider = True

    def widen(self, number: int, more: int, stream: Windowed | None) -> None:
        """Widen a stream's window; `stream` is None if all of its answer is here. Raises H2StreamError."""
        unsent = self.unsent.get(number)
        stream = unsent.stream if unsent else stream
        if not more:
            raise H2StreamError(h2.PROTOCOL_ERROR, "a window that is not widened, or above 2^31-1")
        if stream is None:
            return
        stream.window += more
        if stream.window > h2.MAX_WINDOW:
            raise H2StreamError(h2.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        if unsent:
            self.write(self._sendable(number))

    def _go_on(self) -> None:
        for number in tuple(self.unsent):
            if self._window <= 0:
                break
            self.write(self._sendable(number))

    def _sendable(self, number: int) -> bytes:
        """As many frames of a stream as its windows allow; they count as sent."""
        stream, parts = self.unsent[number]
        frames: list[bytes | memoryview] = []
        while parts:
            data, end = parts.popleft()
            while data and (size := min(h2.FRAME_BYTES, self._window, stream.window, len(data))) > 0:
                frames += (h2.head(size, h2.DATA, 0, number), data[:size])
                data = data[size:]
                self._window -= size
                stream.window -= size
                self._unsent_bytes -= size
            if data:
                parts.appendleft((data, end))
                break
            frames.append(end)
        else:
            del self.unsent[number]
        return b"".join(frames)
