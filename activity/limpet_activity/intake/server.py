"""The gRPC server that workers hand batches over to: on Unix sockets, and on TCP with certificates."""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from limpet_activity.intake.batches import MOST_BYTES, OtherVersionError, read_batch
from limpet_activity.intake.callers import Callers
from limpet_activity.intake.certificates import server_credentials
from limpet_activity.intake.intake import Intake
from limpet_activity.intake.metrics import IntakeMetrics
from limpet_activity.store.port import StoreError
from limpet_extproc.contract.activity import METHOD, BatchError

_SOCKET_UMASK: Final = 0o117
"""Workers may run as another user of the same group."""

_OPTIONS: Final = (
    # Beyond what is taken, so that what is too large gets an answer that says so.
    ("grpc.max_receive_message_length", 4 * MOST_BYTES),
    ("grpc.so_reuseport", 0),
    # Workers that have nothing to send ask whether we are here, every 15 seconds.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

UNIX: Final = "unix:"
_PROBE_S: Final = 1.0


class ListenError(Exception):
    """Nothing can listen there; the text says why and what to do."""


class _Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    def __init__(self, intake: Intake, metrics: IntakeMetrics, callers: Callers | None) -> None:
        self._intake = intake
        self._metrics = metrics
        self._callers = callers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(self._take)

    async def _take(self, data: bytes, context: Any) -> bytes:
        if self._callers is not None:
            await self._callers.check(context)
        try:
            await self._intake.take(read_batch(data))
        except OtherVersionError as error:
            self._metrics.batches_refused.inc()
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except BatchError as error:
            self._metrics.batches_refused.inc()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StoreError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return b""


async def start_servers(
    listen: Sequence[str], tls_dir: Path | None, gateway_name: str, intake: Intake, metrics: IntakeMetrics
) -> tuple[list[grpc.aio.Server], list[str]]:
    """Serve on all of these, and where that is: a port 0 has become one. Raises ListenError or TlsFilesError.

    Sockets are open to this user and group; TCP asks for certificates, of `gateway_name`, if there is a `tls_dir`.
    """
    servers: list[grpc.aio.Server] = []
    places: list[str] = []
    try:
        for where in listen:
            server, place = await _start(
                where, None if where.startswith(UNIX) else tls_dir, gateway_name, intake, metrics
            )
            servers.append(server)
            places.append(place)
    except BaseException:
        await stop_servers(servers)
        raise
    return servers, places


async def _start(
    where: str, tls_dir: Path | None, gateway_name: str, intake: Intake, metrics: IntakeMetrics
) -> tuple[grpc.aio.Server, str]:
    callers = None if tls_dir is None else Callers(gateway_name)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_Handler(intake, metrics, callers),))
    umask = os.umask(_SOCKET_UMASK)
    try:
        if where.startswith(UNIX):
            _remove_socket(where)
        if tls_dir is None:
            port = server.add_insecure_port(where)
        else:
            port = server.add_secure_port(where, server_credentials(tls_dir))
        await _started(server)
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {where}: {error}") from error
    finally:
        os.umask(umask)
    return server, where if where.startswith(UNIX) else f"{where.rpartition(':')[0]}:{port}"


async def _started(server: grpc.aio.Server) -> None:
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        # gRPC's server would go on without anybody who could stop it, and complain when it is collected.
        await starting
        await server.stop(None)
        raise


def _remove_socket(where: str) -> None:
    """One that a process before us has left. Raises ListenError if a process still has it."""
    path = Path(where.removeprefix(UNIX))
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(_PROBE_S)
        probe.connect(str(path))
        raise ListenError(f"cannot listen on {where}: another process does; end it, or name another path")
    with suppress(OSError):
        path.unlink()


async def stop_servers(servers: Sequence[grpc.aio.Server], grace_s: float = 0.0) -> None:
    """Take no more calls; those under way have this long to end."""
    for server in servers:
        await server.stop(grace_s)
