"""Both ends of a catalog stream for tests: a small operator that can be ended and broken, a worker that notes all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio

from limpet_extproc.contract.catalog import WATCH_METHOD, Catalog, Report, decode_report, encode
from limpet_extproc.operator_link.catalog_client import StreamHooks, watch
from limpet_extproc.operator_link.operator_channel import TLS_FILES


class Operator:
    """Sends what the test puts in `outbox` and keeps what it receives; bytes are sent unchanged."""

    def __init__(self, *outbox: Catalog | bytes, refusal: str | None = None) -> None:
        self.outbox = list(outbox)
        self.refusal = refusal
        self.reports: list[Report] = []

    async def _watch(self, reports: AsyncIterator[bytes], context: Any) -> None:
        self.reports.append(decode_report(await anext(reports)))
        if self.refusal:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.refusal)
        for message in self.outbox:
            await context.write(message if isinstance(message, bytes) else encode(message))
        with suppress(asyncio.CancelledError):
            async for report in reports:
                self.reports.append(decode_report(report))

    @asynccontextmanager
    async def at(self, address: str, tls_dir: Path | None = None) -> AsyncIterator["Operator"]:
        """Serve there; with `tls_dir` only clients with a certificate of its authority."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        service, method = WATCH_METHOD.strip("/").split("/")
        handler = grpc.stream_stream_rpc_method_handler(self._watch)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        if tls_dir is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, _credentials(tls_dir))
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)


def _credentials(tls_dir: Path) -> grpc.ServerCredentials:
    certificate, key, authority = (Path(tls_dir, name).read_bytes() for name in TLS_FILES)
    return grpc.ssl_server_credentials([(key, certificate)], authority, True)


class Worker:
    """A running `watch` and all it called back; pauses are noted and short."""

    def __init__(self) -> None:
        self.catalogs: list[Catalog] = []
        self.connected: list[bool] = []
        self.pauses: list[float] = []
        self.lost: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(seconds / 50)

    @asynccontextmanager
    async def watching(self, address: str, tls_dir: Path | None = None) -> AsyncIterator["Worker"]:
        """Watch until the end of the block."""
        hooks = StreamHooks(self.connected.append, self.lost.append)
        task = asyncio.create_task(watch(address, "node-1", self.catalogs.append, hooks, self.sleep, tls_dir))
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
