"""gRPC for the Envoy on the other side of a Unix socket, on the loop that decides.

gRPC's own server takes two to three times as long for the same calls: it sends each part of an answer separately, wakes
threads in between, and exchanges windows and pings.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from pathlib import Path
from struct import Struct
from types import coroutine
from typing import Any, Final, Generic, TypeVar, cast

from limpet_extproc.envoy.calls import BACKLOG, MAX_MESSAGE_BYTES, Find, Streaming, Unary
from limpet_extproc.envoy.h2_connection import Connection
from limpet_extproc.envoy.h2_frames import Request, header_block
from limpet_extproc.envoy.h2_stream import H2Stream

_log = logging.getLogger(__name__)

_FLAG_AND_LENGTH: Final = Struct(">BI")
"""Before a message: whether it is compressed, and how long it is."""
_PREFIX: Final = _FLAG_AND_LENGTH.size
_pack_prefix, _unpack_prefix = _FLAG_AND_LENGTH.pack, _FLAG_AND_LENGTH.unpack_from

CANCELLED, UNKNOWN, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 1, 2, 8, 12, 13
"""Status codes."""

_HEAD: Final = ((":status", "200"), ("content-type", "application/grpc"))
_OK: Final = header_block(*_HEAD)
_ENDED: Final = header_block(("grpc-status", "0"))


MOST_UNFINISHED_BYTES: Final = 512 << 20
"""Of messages on one connection of which only the beginning has come; one alone may be as large as any message."""

_SMALL_BYTES: Final = 1 << 20
"""A beginning that does not count: most messages are shorter, and none of them is to fail for a large one, or it for
them."""


_How = TypeVar("_How", Unary, Streaming)


class Unfinished:
    """What has come, over a connection, of large messages that are not whole."""

    __slots__ = ("_bytes", "_most_bytes", "_small_bytes")

    def __init__(self, most_bytes: int = MOST_UNFINISHED_BYTES, small_bytes: int = _SMALL_BYTES) -> None:
        self._bytes = 0
        self._most_bytes = most_bytes
        self._small_bytes = small_bytes

    def may_grow(self, by: int, held: int) -> bool:
        """Count so many bytes more of a message of which `held` have come with them; whether it may go on."""
        if held <= self._small_bytes:
            return True
        self._bytes += by if held - by > self._small_bytes else held
        return self._bytes <= self._most_bytes or self._bytes == held

    def let_go(self, held: int) -> None:
        """A message of which so much had come is whole, or will never be."""
        if held > self._small_bytes:
            self._bytes -= held


class _AnyCall(Generic[_How]):
    """What calls of both kinds have in common."""

    __slots__ = (
        "_answered",
        "_begun",
        "_held",
        "_how",
        "_max_bytes",
        "_missing",
        "_pending",
        "_stream",
        "_task",
        "_unfinished",
    )

    def __init__(self, how: _How, stream: H2Stream, max_message_bytes: int, unfinished: Unfinished) -> None:
        self._how: _How = how
        self._stream = stream
        self._max_bytes = max_message_bytes
        self._unfinished = unfinished
        self._pending: list[memoryview] = []
        """The beginning of a message. What came with it is kept as long, which is hardly ever of another call."""
        self._held = 0
        """How much of it has come."""
        self._missing = 0
        """The rest of it, in bytes; 0: not even its length is known."""
        self._begun = False
        self._answered = False
        self._task: asyncio.Task[None] | None = None

    def data(self, payload: memoryview) -> None:
        """See `Receiver`."""
        missing = self._missing - len(payload)
        if missing > 0:
            self._missing = missing
            self._keep(payload)
            return
        if self._pending:
            payload = memoryview(b"".join((*self._pending, payload)))
            self._let_go()
        self._missing = 0
        while len(payload) >= _PREFIX:
            compressed, length = _unpack_prefix(payload)
            if compressed:
                self.fail(UNIMPLEMENTED, "a compressed message")
                return
            if length > self._max_bytes:
                self.fail(RESOURCE_EXHAUSTED, "a message too large")
                return
            end = _PREFIX + length
            if end > len(payload):
                self._missing = end - len(payload)
                break
            if end == len(payload):
                self._message(payload[_PREFIX:])
                return
            self._message(payload[_PREFIX:end])
            payload = payload[end:]
        if payload:
            self._keep(payload)

    def _keep(self, payload: memoryview) -> None:
        self._pending.append(payload)
        self._held += len(payload)
        if not self._unfinished.may_grow(len(payload), self._held):
            self.fail(RESOURCE_EXHAUSTED, "too much of messages that are not whole")

    def _let_go(self) -> None:
        self._unfinished.let_go(self._held)
        self._held = 0
        self._pending = []

    def end(self) -> None:
        """See `Receiver`."""
        if not self._begun:
            self.fail(INTERNAL, "the call ended before its message")
        elif self._pending:
            self.fail(INTERNAL, "the call ended within a message")

    def cancel(self) -> None:
        """See `Receiver`."""
        # The stream and its call refer to each other: until the garbage collector comes by, both would keep this.
        self._let_go()
        if self._task is not None:
            self._task.cancel()

    def fail(self, status: int, why: str) -> None:
        """End it with an error of the client's."""
        self._end_with(status, why)
        self.cancel()

    def _message(self, message: memoryview) -> None:
        raise NotImplementedError

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
        data = b"" if message is None else _pack_prefix(0, len(message)) + message
        self._stream.send(b"" if self._answered else _OK, data, trailers)
        self._answered = True
        if trailers is not None:
            self._let_go()

    def _end_with(self, status: int, why: str) -> None:
        head = () if self._answered else _HEAD
        self._stream.send(b"", b"", header_block(*head, ("grpc-status", str(status)), ("grpc-message", why)))
        self._let_go()


class UnaryCall(_AnyCall[Unary]):
    """A call with one message each way."""

    __slots__ = ()

    def _message(self, message: memoryview) -> None:
        """Answer at once, if nothing has to be waited for: a task would take a turn of the loop."""
        if self._begun:
            return
        self._begun = True
        handling = self._how.handle(message)
        try:
            awaited = handling.send(None)
        except StopIteration as done:
            answer: bytes = done.value
            self._stream.send(_OK, _pack_prefix(0, len(answer)) + answer, _ENDED)
        except asyncio.CancelledError:
            self._end_with(CANCELLED, "cancelled")
        except Exception:
            self._broken()
        else:
            self._task = asyncio.get_running_loop().create_task(self._run(_rest, handling, awaited))


class Call(_AnyCall[Streaming]):
    """A call with any number of messages."""

    __slots__ = ("_ended", "_messages", "_waiting")

    def __init__(self, how: Streaming, stream: H2Stream, max_message_bytes: int, unfinished: Unfinished) -> None:
        super().__init__(how, stream, max_message_bytes, unfinished)
        self._messages: deque[bytes] = deque()
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None
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

    def unread(self) -> Sequence[bytes]:
        """See `CallMessages`."""
        left, self._messages = self._messages, deque()
        return left

    async def write(self, message: bytes) -> None:
        """See `CallMessages`."""
        self._send(message, None)

    def end(self) -> None:
        """See `Receiver`."""
        self._ended = True
        self._wake()
        super().end()

    def _message(self, message: memoryview) -> None:
        self._messages.append(bytes(message))
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


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
        later = asyncio.get_running_loop().call_later
        open_ = partial(self._open, Unfinished())
        return Connection(open_, self._connections, self._max_bytes + _PREFIX, later, self._closed)

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
        await asyncio.sleep(0)  # for what is cancelled to end

    def _closed(self) -> None:
        if not self._connections:
            self._on_alone()

    def _open(self, unfinished: Unfinished, stream: H2Stream, request: Request) -> UnaryCall | Call:
        how = self._find(request)
        if isinstance(how, Unary):
            return UnaryCall(how, stream, self._max_bytes, unfinished)
        if how is not None:
            return Call(how, stream, self._max_bytes, unfinished)
        call = UnaryCall(_NOBODY, stream, self._max_bytes, unfinished)
        call.fail(UNIMPLEMENTED, "no such method")
        return call


async def _nothing(_: bytes | memoryview) -> bytes:
    return b""


_NOBODY: Final = Unary(_nothing)
"""Handles what has failed already."""
