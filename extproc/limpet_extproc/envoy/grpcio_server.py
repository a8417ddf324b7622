"""gRPC's own server for the same calls as `grpc_server.py`, for whoever prefers it to a small one.

It does what that one does, with two detours. gRPC does not tell of connections, so the system is asked who is
connected. Nor does it take a socket that listens already, so what comes there is passed on.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote

import grpc
import grpc.aio

from limpet_extproc.envoy.calls import MAX_MESSAGE_BYTES, Find, Streaming, Unary
from limpet_extproc.envoy.h2_frames import HEADER_BLOCK_BYTES, Request
from limpet_extproc.envoy.unix_connections import LOOK_EVERY_S, UnixRelay, watch_connections

_T = TypeVar("_T")
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_log = logging.getLogger(__name__)

_NO_LIMIT: Final = (1 << 31) - 1
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", HEADER_BLOCK_BYTES),
    ("grpc.absolute_max_metadata_size", HEADER_BLOCK_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # None but identity.
    # By itself gRPC refuses some of a thousand calls that come at once.
    ("grpc.server.max_pending_requests", _NO_LIMIT),
    ("grpc.server.max_pending_requests_hard_limit", _NO_LIMIT),
    ("grpc.http2.max_ping_strikes", 0),  # How often Envoy looks whether we are there is its own affair.
)

_BEHIND: Final = ".grpc"
"""Ends the name of the socket that a `UnixRelay` passes calls on to."""


class GrpcioServer:
    """A `CallServer` of grpc.aio."""

    def __init__(
        self,
        find: Find,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        on_alone: Callable[[], None] = lambda: None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`on_alone` is called at the next look at who is connected, when all of the last look have gone."""
        self._on_alone = on_alone
        self._look_every_s = look_every_s
        options = (*_OPTIONS, ("grpc.max_receive_message_length", max_message_bytes))
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((_Handlers(find),))
        self._path: Path | None = None
        self._watching: asyncio.Task[None] | None = None
        self._relay: UnixRelay | None = None

    async def start(self, path: Path) -> None:
        """See `CallServer`."""
        _check(path)
        try:
            self._server.add_insecure_port(f"unix:{quote(str(path))}")
        except RuntimeError as error:
            raise OSError(str(error)) from error
        self._path = path
        await self._server.start()
        self._watching = asyncio.create_task(watch_connections(path, self._on_alone, every_s=self._look_every_s))

    async def start_on(self, listening: socket.socket) -> None:
        """See `CallServer`. gRPC itself listens beside that socket, at its path with an ending."""
        behind = Path(f"{listening.getsockname()}{_BEHIND}")
        await self.start(behind)
        self._relay = UnixRelay(behind)
        await self._relay.start(listening)

    async def stop(self, grace: float) -> None:
        """See `CallServer`."""
        if self._relay is not None:
            self._relay.close()
        if self._watching is not None:
            self._watching.cancel()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        await self._server.stop(grace)
        if self._relay is not None:
            await self._relay.ended()


def _check(path: Path) -> None:
    """Raises the OSError that says why nothing can listen there, which gRPC does not say."""
    if path.is_socket():
        path.unlink()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(path))
    path.unlink()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg] # It has parameters in its stubs alone.
    """All calls, as raw bytes."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of a call; None: there is no such method."""
        metadata = handler_call_details.invocation_metadata or ()
        # Binary ones are bytes.
        texts = frozenset((key, value) for key, value in metadata if isinstance(value, str))
        how = self._find(Request(handler_call_details.method, texts))
        if isinstance(how, Unary):
            return grpc.unary_unary_rpc_method_handler(_unary(how))
        return None if how is None else grpc.stream_stream_rpc_method_handler(_streaming(how))


class _Messages:
    """A call's messages."""

    __slots__ = ("_context",)

    def __init__(self, context: _Context) -> None:
        self._context = context

    async def read(self) -> bytes | None:
        """See `CallMessages`."""
        message = await self._context.read()
        return message if isinstance(message, bytes) else None

    def unread(self) -> Sequence[bytes]:
        """See `CallMessages`. gRPC keeps them to itself."""
        return ()

    async def write(self, message: bytes, /) -> None:
        """See `CallMessages`."""
        await self._context.write(message)


def _unary(how: Unary) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def handle(message: bytes, context: _Context) -> bytes:
        return await _ended(how.handle(message), context)

    return handle


def _streaming(how: Streaming) -> Callable[[Any, Any], Awaitable[None]]:
    async def handle(_: Any, context: _Context) -> None:
        messages = _Messages(context)
        last = await _ended(how.handle(messages), context)
        if last is not None:
            await messages.write(last)

    return handle


async def _ended(handling: Awaitable[_T], context: _Context) -> _T:
    """What a handler returns. One that fails ends its call with the status that our other server would send."""
    try:
        return await handling
    except grpc.aio.BaseError:
        raise  # The client has gone; gRPC knows.
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # By itself: gRPC would leave the client waiting.
        await context.abort(grpc.StatusCode.CANCELLED, "cancelled")
    except Exception:
        _log.exception("a call could not be answered; please report this")
        await context.abort(grpc.StatusCode.UNKNOWN, "a bug in ext_proc")
