"""The gRPC server that all services of a replica share."""

import asyncio
from typing import Any, Final

import grpc
import grpc.aio

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.so_reuseport", 0),  # Else a second operator on the same port would silently take half of the connections.
    ("grpc.keepalive_time_ms", 30_000),  # A peer whose machine died leaves no FIN.
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # By default a minute, and a pending ping delays the keepalive's.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


async def serve(
    address: str, *handlers: "grpc.GenericRpcHandler[Any, Any]", credentials: grpc.ServerCredentials | None = None
) -> grpc.aio.Server:
    """Start a server on `unix:/path` or `host:port`; the caller stops it. OSError: the address is not available.

    Without credentials every client is served: `tls.require_tls` rejects addresses for which that is unsafe.
    """
    server = grpc.aio.server(options=_CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers(handlers)
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(
            f"can't listen for Envoy and ext_proc on {address}: is it in use, or its directory missing?"
        ) from error
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        # gRPC's server would go on without anybody who could stop it, and complain when it is collected.
        await starting
        await server.stop(None)
        raise
    return server
