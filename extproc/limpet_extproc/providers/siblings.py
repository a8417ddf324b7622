"""How the workers beside one Envoy share what happens to the providers: Unix datagrams from each to all others.

Envoy's logs go to one worker each, failures to this one and answers to that one. No worker alone would see everything:
a provider that is out would never be seen to answer again. A worker sends its events after each batch of log entries.
What a sibling misses while it starts it learns from the next failures, as a worker without siblings would.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from limpet_extproc.providers.event_reader import read_msgpack
from limpet_extproc.providers.events import WorkerEvent
from limpet_extproc.providers.limit_events import EventsMissed

_log = logging.getLogger(__name__)

_MAX_EVENTS: Final = 500
"""In one datagram, about 20 KB: far below what a socket takes."""
_MAX_BYTES: Final = 1 << 20
_MAX_UNSENT: Final = 100
RETRY_S: Final = 0.02
"""A socket holds few datagrams, so one that is busy for a moment is full."""


class Siblings:
    """The other workers of this one's supervisor. All methods are for the loop that `start` is called in."""

    def __init__(self, own: Path, others: Sequence[Path]) -> None:
        """The paths of this worker's socket and of the others'."""
        self._own = own
        self._pending: list[WorkerEvent] = []
        """Events of this turn of the loop."""
        self._unsent: dict[str, deque[bytes]] = {str(other): deque() for other in others}
        self._retry: asyncio.TimerHandle | None = None
        self._on_event: Callable[[WorkerEvent], None]
        self._warned = False
        self._missed = msgspec.msgpack.encode([EventsMissed()])
        """In the place of the oldest datagrams for one that reads too slowly."""
        self._encoder = msgspec.msgpack.Encoder()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def start(self, on_event: Callable[[WorkerEvent], None]) -> None:
        """Call `on_event` with each event of another worker. Raises OSError if the socket cannot be made."""
        self._on_event = on_event
        self._own.unlink(missing_ok=True)
        self._socket.bind(str(self._own))
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Neither send nor receive any more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._retry is not None:
            self._retry.cancel()
        self._socket.close()
        self._own.unlink(missing_ok=True)

    def send(self, event: WorkerEvent) -> None:
        """Send this, together with the other events of this turn of the loop."""
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._pack)
        self._pending.append(event)

    def _pack(self) -> None:
        events, self._pending = self._pending, []
        for begin in range(0, len(events), _MAX_EVENTS):
            data = self._encoder.encode(events[begin : begin + _MAX_EVENTS])
            for unsent in self._unsent.values():
                if len(unsent) == _MAX_UNSENT:
                    unsent.popleft()
                    unsent[0] = self._missed
                unsent.append(data)
        self._send()

    def _send(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for other, unsent in self._unsent.items():
            try:
                while unsent:
                    self._socket.sendto(unsent[0], other)
                    unsent.popleft()
            except BlockingIOError:
                continue
            except OSError:
                unsent.clear()  # It is away, and will learn from what it sees itself.
        if any(self._unsent.values()):
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._send)

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while True:
                data = self._socket.recv(_MAX_BYTES)
                read = read_msgpack(data)
                if read.error is not None and not self._warned:
                    self._warned = True
                    _log.warning("another worker speaks another language: %s. Do all run the same version?", read.error)
                for event in read.events:
                    self._on_event(event)


def sibling_socket(directory: Path, number: int) -> Path:
    """Where a worker receives the events of the others."""
    return directory / f"sibling-{number}.sock"
