"""One request on an HTTP/2 connection, with the window of each direction."""

from typing import Final, Protocol

from limpet_extproc.envoy import h2_frames as h2
from limpet_extproc.envoy.h2_frames import H2StreamError

REPLENISH_BYTES: Final = 1 << 20
"""A window is not widened by less, so the largest body must fit into one that has shrunk by this."""


class Receiver(Protocol):
    """Takes in a request."""

    def data(self, payload: memoryview) -> None:
        """A piece of the body, which is not empty; a view of all that has come with it."""

    def end(self) -> None:
        """The body is complete."""

    def cancel(self) -> None:
        """The answer is no longer wanted."""


class Carrier(Protocol):
    """The connection of a stream."""

    def send(self, stream: "H2Stream", head: bytes, data: bytes, trailers: bytes | None) -> None:
        """See `H2Stream.send`."""

    def widen(self, number: int, more: int) -> None:
        """Let so many bytes more come on a stream."""


class H2Stream:
    """One request and its answer."""

    __slots__ = ("_connection", "ended", "number", "received", "receiver", "window")

    def __init__(self, connection: Carrier, number: int, window: int) -> None:
        self._connection = connection
        self.received = 0
        """Bytes since the receiver has last asked for more."""
        self.number = number
        self.window = window
        """Bytes that we may send."""
        self.ended = False
        """The client has sent all of its request."""
        self.receiver: Receiver | None = None

    def send(self, head: bytes, data: bytes, trailers: bytes | None) -> None:
        """Send a header block, data and, if the answer ends here, the block of its trailers; each may be empty."""
        self._connection.send(self, head, data, trailers)

    def ask_for_more(self) -> None:
        """Everything received has been used, so as much may come again."""
        if self.received >= REPLENISH_BYTES:
            self._connection.widen(self.number, self.received)
            self.received = 0

    def cancel(self) -> None:
        """The answer is no longer wanted."""
        if self.receiver is not None:
            self.receiver.cancel()


class MeasuredBody:
    """A receiver of a body whose length the client has said. Raises H2StreamError if another comes."""

    def __init__(self, receiver: Receiver, content_length: int) -> None:
        self._receiver = receiver
        self._left = content_length

    def data(self, payload: memoryview) -> None:
        """See `Receiver`."""
        self._left -= len(payload)
        if self._left < 0:
            raise H2StreamError(h2.PROTOCOL_ERROR, "a body longer than its content-length")
        self._receiver.data(payload)

    def end(self) -> None:
        """See `Receiver`."""
        if self._left:
            raise H2StreamError(h2.PROTOCOL_ERROR, "a body shorter than its content-length")
        self._receiver.end()

    def cancel(self) -> None:
        """See `Receiver`."""
        self._receiver.cancel()
