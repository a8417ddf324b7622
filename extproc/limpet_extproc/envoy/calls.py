"""Envoy's calls as a worker handles them, whichever server carries them."""

import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from limpet_extproc.envoy.h2_frames import Request

MAX_MESSAGE_BYTES: Final = 1100 << 20
"""The largest body that a gateway can be set to accept, with Envoy's message around it; Envoy's own limit decides."""

BACKLOG: Final = 1024


class CallMessages(Protocol):
    """The messages of one call, both ways."""

    async def read(self) -> bytes | None:
        """The next message; None when there are no more."""

    def unread(self) -> Sequence[bytes]:
        """Take the messages that have come already, without waiting for more: for a handler that is cancelled."""

    async def write(self, message: bytes, /) -> None:
        """Send a message."""


class Unary(NamedTuple):
    """A call with one message each way; a request may be a view of what has come.

    The handler belongs to no task until it has to wait: one that never does may be answered without one.
    """

    handle: Callable[[bytes | memoryview], Coroutine[Any, Any, bytes]]


class Streaming(NamedTuple):
    """A call with any number of messages; a returned message is sent as our last."""

    handle: Callable[[CallMessages], Coroutine[Any, Any, bytes | None]]


Find = Callable[[Request], Unary | Streaming | None]
"""The handler of a call; None: there is no such method."""


class CallServer(Protocol):
    """Serves calls on a Unix socket. A client that cancels a call, or hangs up, cancels its handler."""

    async def start(self, path: Path) -> None:
        """Listen. Raises OSError."""

    async def start_on(self, listening: socket.socket) -> None:
        """Take connections from a socket that somebody else has opened, and will close. Raises OSError."""

    async def stop(self, grace: float) -> None:
        """Accept no more calls, give those under way `grace` seconds, and close all connections."""
