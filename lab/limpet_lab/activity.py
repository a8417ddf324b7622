"""A stand-in for the activity service: takes batches as it does, and keeps them in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio

from limpet_extproc.contract.activity import METHOD, ActivityBatch, ActivityRecord, decode_batch


class TakingService(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    """Takes what workers hand over, or `refuses` it."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.refuses: grpc.StatusCode | None = None
        self._server: grpc.aio.Server | None = None

    @property
    def batches(self) -> list[ActivityBatch]:
        """What was taken."""
        return [decode_batch(each) for each in self.data]

    @property
    def records(self) -> list[ActivityRecord]:
        """Of all batches."""
        return [record for batch in self.batches for record in batch.records]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """For gRPC."""
        return grpc.unary_unary_rpc_method_handler(self._take) if handler_call_details.method == METHOD else None

    async def _take(self, data: bytes, context: Any) -> bytes:
        if self.refuses is not None:
            await context.abort(self.refuses, "refused, as it was told to")
        self.data.append(data)
        return b""

    @asynccontextmanager
    async def at(self, place: str, tls_dir: Path | None = None) -> AsyncIterator[Self]:
        """Serve at `unix:PATH` or `HOST:PORT`; with `tls_dir`, only clients with a certificate of its authority."""
        self._server = server = grpc.aio.server()
        server.add_generic_rpc_handlers((self,))
        if tls_dir is None:
            server.add_insecure_port(place)
        else:
            certificate, key, authority = ((tls_dir / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt"))
            server.add_secure_port(
                place, grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
            )
        await server.start()
        try:
            yield self
        finally:
            await self.end()

    async def end(self) -> None:
        """Go away at once, whatever is under way."""
        if self._server is not None:
            await self._server.stop(None)
