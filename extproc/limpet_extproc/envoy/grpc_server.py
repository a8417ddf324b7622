"""gRPC for the Envoy on the other side of a Unix socket, on the loop that decides.

gRPC's own server takes two to three times as long for the same calls: it sends each part of an answer separately, wakes
threads in between, and exchanges windows and pings.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from types import coroutine
from typing import Any, Final, cast

from limpet_extproc.envoy.calls import BACKLOG, MAX_MESSAGE_BYTES, Find, Streaming, Unary
from limpet_extproc.envoy.h2_connection import Connection
from limpet_extproc.envoy.h2_frames import Request, header_block
from limpet_extproc.envoy.h2_stream import H2Stream

_log = logging.getLogger(__name__)

_PREFIX: Final = 5
"""Bytes before a message: a flag for compression, and its length."""

CANCELLED, UNKNOWN, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 1, 2, 8, 12, 13
"""Status codes."""

_HEAD: Final = ((":status", "200"), ("content-type", "application/grpc"))
_OK: Final = header_block(*_HEAD)
_ENDED: Final = header_block(("grpc-status", "0"))


class Call:
    """One call."""

    __slots__ = (
        "_answered",
        "_begun",
        "_ended",
        "_how",
        "_max_bytes",
        "_messages",
        "_pending",
        "_stream",
        "_task",
        "_waiting",
    )

    def __init__(self, how: Unary | Streaming | None, stream: H2Stream, max_message_bytes: int) -> None:
        self._how = how
        self._max_bytes = max_message_bytes
        self._stream = stream
        self._pending = bytearray()
        """The beginning of a message."""
        self._messages: deque[bytes] = deque()
        self._ended = False
        self._begun = False
        self._answered = False
        self._waiting: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        if how is None:
            self._fail(UNIMPLEMENTED, "no such method")
        elif isinstance(how, Streaming):
            self._begun = True
            self._task = asyncio.get_running_loop().create_task(self._run(how.handle, self))

    async def read(self) -> bytes | None:
        """See `CallMessages`."""
        while not self._messages:
            if self._ended:
                return None
            self._stream.ask_for_more()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._messages.popleft()

    async def write(self, message: bytes) -> None:
        """See `CallMessages`."""
        self._send(message, None)

    def data(self, payload: bytes) -> None:
        """See `Receiver`."""
        if not self._pending and len(payload) >= _PREFIX and self._end_of_message(payload) == len(payload):
            self._message(payload[_PREFIX:])
            return
        pending = self._pending
        pending += payload
        while len(pending) >= _PREFIX and (end := self._end_of_message(pending)) and end <= len(pending):
            if isinstance(self._how, Unary) and end == len(pending):
                # Not copied, as a large body would take its size again.
                self._pending = bytearray()
                self._message(memoryview(pending)[_PREFIX:])
                return
            message = bytes(memoryview(pending)[_PREFIX:end])
            del pending[:end]
            self._message(message)

    def end(self) -> None:
        """See `Receiver`."""
        self._ended = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        if not self._begun:
            self._fail(INTERNAL, "the call ended before its message")
        elif self._pending:
            self._fail(INTERNAL, "the call ended within a message")

    def cancel(self) -> None:
        """See `Receiver`."""
        if self._task is not None:
            self._task.cancel()

    def _end_of_message(self, data: bytes | bytearray) -> int:
        """Where the message that begins here ends; 0 if it is not allowed, and the call has failed."""
        length = int.from_bytes(data[1:_PREFIX], "big")
        if data[0]:
            self._fail(UNIMPLEMENTED, "a compressed message")
            return 0
        if length > self._max_bytes:
            self._fail(RESOURCE_EXHAUSTED, "a message too large")
            return 0
        return _PREFIX + length

    def _message(self, message: bytes | memoryview) -> None:
        if isinstance(self._how, Streaming):
            self._messages.append(bytes(message))
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(None)
        elif self._how is not None and not self._begun:
            self._begun = True
            self._answer(self._how.handle(message))

    def _answer(self, handling: Coroutine[Any, Any, bytes]) -> None:
        """Answer at once, if nothing has to be waited for: a task would take a turn of the loop."""
        try:
            awaited = handling.send(None)
        except StopIteration as done:
            self._send(done.value, _ENDED)
        except asyncio.CancelledError:
            self._end_with(CANCELLED, "cancelled")
        except Exception:
            self._broken()
        else:
            self._task = asyncio.get_running_loop().create_task(self._run(_rest, handling, awaited))

    async def _run(self, handle: Callable[..., Awaitable[bytes | None]], *arguments: Any) -> None:
        try:
            message = await handle(*arguments)
        except asyncio.CancelledError:
            self._end_with(CANCELLED, "cancelled")
            raise
        except Exception:
            self._broken()
            return
        self._send(message, _ENDED)

    def _broken(self) -> None:
        _log.exception("a call could not be answered; please report this")
        self._end_with(UNKNOWN, "a bug in ext_proc")

    def _send(self, message: bytes | None, trailers: bytes | None) -> None:
        data = b"" if message is None else b"\x00" + len(message).to_bytes(4, "big") + message
        self._stream.send(b"" if self._answered else _OK, data, trailers)
        self._answered = True

    def _fail(self, status: int, why: str) -> None:
        self._end_with(status, why)
        self.cancel()

    def _end_with(self, status: int, why: str) -> None:
        head = () if self._answered else _HEAD
        self._stream.send(b"", b"", header_block(*head, ("grpc-status", str(status)), ("grpc-message", why)))


@coroutine
def _rest(handling: Coroutine[Any, Any, bytes], awaited: Any) -> Generator[Any, Any, bytes]:
    """What is left of a handler that waits for this, for the task that goes on with it."""
    while True:
        try:
            try:
                sent = yield awaited
            except BaseException as error:
                awaited = handling.throw(error)
            else:
                awaited = handling.send(sent)
        except StopIteration as done:
            return cast("bytes", done.value)


class Server:
    """A `CallServer` that speaks HTTP/2 itself."""

    def __init__(
        self, find: Find, max_message_bytes: int = MAX_MESSAGE_BYTES, on_alone: Callable[[], None] = lambda: None
    ) -> None:
        """`on_alone` is called when the last connection has closed."""
        self._find = find
        self._on_alone = on_alone
        self._max_bytes = max_message_bytes
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """See `CallServer`."""
        self._path = path
        self._server = await asyncio.get_running_loop().create_unix_server(self._connection, path, backlog=BACKLOG)

    async def start_on(self, listening: socket.socket) -> None:
        """See `CallServer`."""
        self._server = await asyncio.get_running_loop().create_unix_server(
            self._connection, sock=listening, backlog=BACKLOG
        )

    def _connection(self) -> Connection:
        return Connection(self._open, self._connections, self._max_bytes + _PREFIX, self._closed)

    async def stop(self, grace: float) -> None:
        """See `CallServer`."""
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        for connection in self._connections:
            connection.drain()
        if any(connection.busy for connection in self._connections):
            await asyncio.sleep(grace)
        for connection in tuple(self._connections):
            connection.close()

    def _closed(self) -> None:
        if not self._connections:
            self._on_alone()

    def _open(self, stream: H2Stream, request: Request) -> Call:
        return Call(self._find(request), stream, self._max_bytes)
